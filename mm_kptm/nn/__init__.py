"""Modules of Transformers on ragged batches: attention, sublayers, layers, embeddings, heads."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.nn.assembly import TextOnly
    from mm_kptm.nn.attention import Attention
    from mm_kptm.nn.decoder import Decoder
    from mm_kptm.nn.embeddings import TextEmbedding
    from mm_kptm.nn.heads import Classifier, Pooler, TiedVocabulary, Transform
    from mm_kptm.nn.init import bert_init
    from mm_kptm.nn.ragged import AttentionLayout
    from mm_kptm.nn.steps import CrossStep, SelfStep, Stream
    from mm_kptm.nn.sublayers import Layer, bert_layer
else:
    __getattr__ = lazy(
        __name__,
        {
            "assembly": ["TextOnly"],
            "attention": ["Attention"],
            "decoder": ["Decoder"],
            "embeddings": ["TextEmbedding"],
            "heads": ["Classifier", "Pooler", "TiedVocabulary", "Transform"],
            "init": ["bert_init"],
            "ragged": ["AttentionLayout"],
            "steps": ["CrossStep", "SelfStep", "Stream"],
            "sublayers": ["Layer", "bert_layer"],
        },
    )

__all__ = [
    "Attention",
    "AttentionLayout",
    "Classifier",
    "CrossStep",
    "Decoder",
    "Layer",
    "Pooler",
    "SelfStep",
    "Stream",
    "TextEmbedding",
    "TextOnly",
    "TiedVocabulary",
    "Transform",
    "bert_init",
    "bert_layer",
]
