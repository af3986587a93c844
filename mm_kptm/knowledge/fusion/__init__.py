"""Modules that fuse knowledge with text: ERNIE's fused layers, KnowBERT's KAR, n-gram encoders, embeddings."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.knowledge.fusion.entity_embedding import EntityVectors, WithVectors
    from mm_kptm.knowledge.fusion.ernie import FusedLayer, FusedStream, fuse
    from mm_kptm.knowledge.fusion.kar import Linker, RecontextualisedStream, Recontextualiser
    from mm_kptm.knowledge.fusion.knowledge_bases import recontextualise
    from mm_kptm.knowledge.fusion.label_embedding import SentimentEmbedding
    from mm_kptm.knowledge.fusion.ngram_encoder import NgramEmbedding, NgramStream
    from mm_kptm.knowledge.fusion.node_embedding import NodeEmbedding
    from mm_kptm.knowledge.fusion.sense_embedding import SenseEmbedding
else:
    __getattr__ = lazy(
        __name__,
        {
            "entity_embedding": ["EntityVectors", "WithVectors"],
            "ernie": ["FusedLayer", "FusedStream", "fuse"],
            "kar": ["Linker", "RecontextualisedStream", "Recontextualiser"],
            "knowledge_bases": ["recontextualise"],
            "label_embedding": ["SentimentEmbedding"],
            "ngram_encoder": ["NgramEmbedding", "NgramStream"],
            "node_embedding": ["NodeEmbedding"],
            "sense_embedding": ["SenseEmbedding"],
        },
    )

__all__ = [
    "EntityVectors",
    "FusedLayer",
    "FusedStream",
    "Linker",
    "NgramEmbedding",
    "NgramStream",
    "NodeEmbedding",
    "RecontextualisedStream",
    "Recontextualiser",
    "SenseEmbedding",
    "SentimentEmbedding",
    "WithVectors",
    "fuse",
    "recontextualise",
]
