"""VisualBERT: one BERT over a text and the regions of its image, without boxes."""

from collections.abc import Mapping
from functools import partial
from typing import Any, TypeVar

from torch import nn

from mm_kptm.errors import UserError
from mm_kptm.models.single import SingleStream
from mm_kptm.nn.attention import Attention, set_attention_dropout
from mm_kptm.nn.embeddings import TextEmbedding
from mm_kptm.nn.heads import Pooler
from mm_kptm.nn.init import bert_init
from mm_kptm.nn.sublayers import bert_layer
from mm_kptm.nn.submodules import submodule
from mm_kptm.recipes.bert import (
    BERT_FIELDS,
    NORM_AND_ATTENTION,
    embedding_rules,
    layer_rules,
    masked_tokens,
    pair_classes,
    vocabulary_rules,
)
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Copies, Drop, OneOf, Rename, Rule
from mm_kptm.systems.text_format import TextFormat
from mm_kptm.vision.modules.assembly import TextThenRegions
from mm_kptm.vision.modules.single_stream.phrase_attention import PhraseAttention
from mm_kptm.vision.modules.single_stream.region_projection import AlignedRegionEmbedding
from mm_kptm.vision.recipes.head_sizes import rows_of

M = TypeVar("M", bound=nn.Module)


def visualbert(
    *,
    dim: int = 768,
    num_heads: int = 12,
    num_layers: int = 12,
    ffn_dim: int = 3072,
    vocab_size: int = 30522,
    max_positions: int = 512,
    num_segments: int = 2,
    region_dim: int = 2048,
    activation: str = "gelu",
    norm_eps: float = 1e-12,
    dropout: float = 0.1,
    attention_dropout: float | None = None,
) -> SingleStream:
    """The encoder of Li et al. (2019, figure 2); the defaults are the released one for VQA.

    The released ones differ in ``region_dim``: 2048 for VQA, 1024 for NLVR2, 512 for VCR, 2054 for Flickr30k (features
    with six numbers of the box). ``num_segments`` counts those of the text and those of the regions, in two tables.
    """
    norm = partial(nn.LayerNorm, eps=norm_eps)
    text = TextEmbedding(
        vocab_size, dim, max_positions=max_positions, num_segments=num_segments, norm=norm(dim), dropout=dropout
    )
    regions = AlignedRegionEmbedding(
        region_dim, text, num_segments=num_segments, max_positions=max_positions, dropout=dropout
    )
    layers = (
        bert_layer(dim, num_heads, ffn_dim=ffn_dim, activation=activation, dropout=dropout, norm=norm)
        for _ in range(num_layers)
    )
    encoder = _fresh(SingleStream(TextThenRegions(text, regions), layers, Pooler(dim), dim=dim))
    set_attention_dropout(encoder, attention_dropout)
    return encoder


def vqa_at_mask(encoder: SingleStream, *, num_answers: int = 3129) -> nn.Linear:
    """Logits of all answers from the state of the [MASK] after the question.

    :func:`~mm_kptm.vision.modules.single_stream.mask_readout.answer_mask_rows` finds its row; no pooled state is used.
    """
    return _fresh(nn.Linear(encoder.dim, num_answers))


def nlvr2(encoder: SingleStream) -> nn.Linear:
    """False (0) or true (1) of a text about two images, whose regions are in one sequence with segments 0 and 1."""
    return _fresh(nn.Linear(encoder.dim, 2))


def vcr(encoder: SingleStream) -> nn.Linear:
    """One logit per choice from the pooled state; cross-entropy over the four choices of a question."""
    return _fresh(nn.Linear(encoder.dim, 1))


def phrase_grounding(encoder: SingleStream) -> PhraseAttention:
    """Phrase-region scores from an attention as wide as one head of the encoder."""
    num_heads = submodule(encoder, "layers.0.self_attention.attention", Attention).num_heads
    return _fresh(PhraseAttention(encoder.dim, encoder.dim // num_heads))


def _fresh(module: M) -> M:
    bert_init(module)
    return module


def _read_config(config: Mapping[str, Any]) -> dict[str, Any]:
    if config.get("bypass_transformer"):
        raise UserError(
            "the configuration sets bypass_transformer, in which the regions skip all layers but one more; visualbert "
            "has every layer read text and regions, so only a configuration with bypass_transformer false can be built"
        )
    return {"region_dim": config["visual_embedding_dim"]} if "visual_embedding_dim" in config else {}


#: Key prefixes of the encoder: the released code wraps it twice; Hugging Face has another name.
_VB = "[bert.bert.][visual_bert.]"
_REGIONS = "encoder.embed.regions"
_CLASSIFIED = ("heads.vqa-at-mask", "heads.nlvr2", "heads.vcr")


def _classifier_rules(theirs: str) -> tuple[OneOf, ...]:
    return tuple(
        OneOf(f"{theirs}.{leaf}", tuple(f"{head}.{leaf}" for head in _CLASSIFIED)) for leaf in ("weight", "bias")
    )


def _phrase_rules(theirs: str) -> tuple[Rule, ...]:
    return (
        *(Rename(f"{theirs}.{role}.{{leaf}}", f"heads.phrase-grounding.{role}.{{leaf}}") for role in ("query", "key")),
        Drop(f"{theirs}.value.{{leaf}}", because="the released code never applies it: scores are read off"),
    )


#: Key renamings of a BERT checkpoint to start from; region tables are copies of the text's, as in the released code.
_BERT_START: tuple[Rule, ...] = (
    Copies(
        "bert.embeddings.token_type_embeddings.weight",
        ("encoder.embed.text.segment.weight", f"{_REGIONS}.segment.weight"),
    ),
    Copies(
        "bert.embeddings.position_embeddings.weight",
        ("encoder.embed.text.position.weight", f"{_REGIONS}.position.weight"),
    ),
    *embedding_rules("bert.embeddings", "encoder.embed.text"),
    Drop("bert.embeddings.position_ids", because="a buffer that counts from 0"),
    *layer_rules("bert.encoder.layer.{i}", "encoder.layers.{i}"),
    Rename("bert.pooler.dense.{leaf}", "encoder.pooler.dense.{leaf}"),
    *vocabulary_rules("bert.embeddings.word_embeddings.weight"),
)

#: Key renamings of the released code, of Hugging Face and of BERT, without duplicates.
_WEIGHTS: tuple[Rule, ...] = tuple(
    dict.fromkeys(
        (
            *embedding_rules(f"{_VB}embeddings", "encoder.embed.text"),
            Drop(f"{_VB}embeddings.position_ids", because="a buffer that counts from 0"),
            Rename(f"{_VB}embeddings.[visual_]projection.{{leaf}}", f"{_REGIONS}.feature.{{leaf}}"),
            Rename("bert.bert.embeddings.token_type_embeddings_visual.weight", f"{_REGIONS}.segment.weight"),
            Rename("bert.bert.embeddings.position_embeddings_visual.weight", f"{_REGIONS}.position.weight"),
            Rename("[visual_bert.]embeddings.visual_token_type_embeddings.weight", f"{_REGIONS}.segment.weight"),
            Rename("[visual_bert.]embeddings.visual_position_embeddings.weight", f"{_REGIONS}.position.weight"),
            *layer_rules(f"{_VB}encoder.layer.{{i}}", "encoder.layers.{i}"),
            Rename(f"{_VB}pooler.dense.{{leaf}}", "encoder.pooler.dense.{leaf}"),
            *vocabulary_rules("bert.bert.embeddings.word_embeddings.weight", "bert.cls"),
            Rename("bert.cls.seq_relationship.{leaf}", "heads.image-text-matching.{leaf}"),
            *_classifier_rules("bert.classifier"),
            *_phrase_rules("bert.flickr_attention"),
            *vocabulary_rules("visual_bert.embeddings.word_embeddings.weight"),
            Rename("cls.seq_relationship.{leaf}", "heads.image-text-matching.{leaf}"),
            *_classifier_rules("cls"),
            *_phrase_rules("attention"),
            *_BERT_START,
        )
    )
)

VISUALBERT = Recipe(
    name="visualbert-base",
    family="visualbert",
    paper="Li et al. 2019, VisualBERT: A Simple and Performant Baseline for Vision and Language, arXiv:1908.03557",
    build=visualbert,
    model_types=("visual_bert", "bert"),
    reads=frozenset({"text", "regions"}),
    heads={
        "masked-tokens": masked_tokens,
        "image-text-matching": pair_classes,
        "vqa-at-mask": vqa_at_mask,
        "nlvr2": nlvr2,
        "vcr": vcr,
        "phrase-grounding": phrase_grounding,
    },
    objectives=("sentence-image-prediction",),
    pretraining_heads=("masked-tokens", "image-text-matching"),
    weights=_WEIGHTS,
    config_keys=BERT_FIELDS | NORM_AND_ATTENTION,
    read_config=_read_config,
    infer_heads=rows_of({"vqa-at-mask": {"num_answers": "bias"}}),
    read_fields=frozenset({"visual_embedding_dim", "bypass_transformer"}),
    infer_from_shapes={"region_dim": (f"{_REGIONS}.feature.weight", 1)},
    task_losses={"vqa": "distribution"},
    text=TextFormat(answer_slot="mask"),
    notes=(
        "class 1 of image-text-matching means that both captions belong to the image (the released code calls the "
        "label is_random_next)",
        "a checkpoint of BERT is a start: load its folder with fresh=['encoder.embed.regions.feature.']; both tables "
        "of the regions start as copies of the text's",
        "VCR's released loader aligns regions with raw words, not with pieces: position 1 + word for the question, 1 + "
        "pieces of the question + 1 + word for the answer; a checkpoint expects such positions in Regions.words",
        "the released code pads between text and regions; here nothing stands there, and no state depends on it",
    ),
)
