"""VLP: one BERT that encodes image and text bidirectionally, or generates the text."""

from collections.abc import Mapping
from functools import partial
from typing import Any, TypeVar

from torch import Tensor, nn

from mm_kptm.errors import UserError
from mm_kptm.models.single import SingleStream
from mm_kptm.nn.attention import set_attention_dropout
from mm_kptm.nn.embeddings import TextEmbedding
from mm_kptm.nn.heads import Pooler, TiedVocabulary
from mm_kptm.nn.init import bert_init
from mm_kptm.nn.sublayers import bert_layer
from mm_kptm.recipes.bert import BERT_FIELDS, NORM_AND_ATTENTION, embedding_rules, layer_rules, vocabulary_rules
from mm_kptm.recipes.bert import masked_tokens as bert_masked_tokens
from mm_kptm.systems.norm_eps import takes_norm_eps
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Drop, Rename
from mm_kptm.systems.text_format import TextFormat
from mm_kptm.vision.modules.single_stream.fused_answers import FusedAnswers
from mm_kptm.vision.modules.single_stream.vlp_embedding import (
    VlpEmbedding,
    VlpEmbeddingWithVisibleMasks,
    VlpRegionProjection,
)
from mm_kptm.vision.recipes.from_bert import vlp_segments
from mm_kptm.vision.recipes.head_sizes import rows_of

M = TypeVar("M", bound=nn.Module)
_EPS = 1e-5
_norm = partial(nn.LayerNorm, eps=_EPS)


@partial(takes_norm_eps, published=1e-5)
def vlp(
    *,
    dim: int = 768,
    num_heads: int = 12,
    num_layers: int = 12,
    ffn_dim: int = 3072,
    vocab_size: int = 28996,
    max_positions: int = 512,
    num_segments: int = 6,
    region_dim: int = 2048,
    num_region_classes: int = 1601,
    attends_to_masked_regions: bool = False,
    activation: str = "gelu",
    dropout: float = 0.1,
    attention_dropout: float | None = None,
) -> SingleStream:
    """The encoder of Zhou et al. (2020, figure 2); the defaults are the released one, cased.

    Segments 0 and 1 are image and text under the bidirectional mask, 4 and 5 under the seq2seq mask. Masked regions are
    no keys of the attention, unless ``attends_to_masked_regions``. With ``num_region_classes`` 0 the geometry is the
    box alone, for regions without detector classes.
    """
    text = TextEmbedding(
        vocab_size, dim, max_positions=max_positions, num_segments=num_segments, norm=_norm(dim), dropout=dropout
    )
    regions = VlpRegionProjection(region_dim, num_region_classes, dim, dropout=dropout)
    layers = (
        bert_layer(dim, num_heads, ffn_dim=ffn_dim, activation=activation, dropout=dropout, norm=_norm)
        for _ in range(num_layers)
    )
    embed = (VlpEmbeddingWithVisibleMasks if attends_to_masked_regions else VlpEmbedding)(text, regions)
    encoder = _fresh(SingleStream(embed, layers, Pooler(dim), dim=dim))
    set_attention_dropout(encoder, attention_dropout)
    return encoder


def masked_tokens(encoder: SingleStream) -> TiedVocabulary:
    """BERT's head for masked tokens, also used to generate captions."""
    head = bert_masked_tokens(encoder)
    head.transform.norm = _norm(encoder.dim)
    return head


def fused_answers(encoder: SingleStream, *, num_answers: int = 3129) -> FusedAnswers:
    """Logits of all answers from two states of the sequence; no pooled state is used."""
    return _fresh(FusedAnswers(encoder.dim, num_answers))


def _fresh(module: M) -> M:
    bert_init(module)
    return module


_REFUSED = {
    "relax_projection": "the head for masked tokens has a projection per task",
    "fp32_embedding": "embeddings are kept in another precision than the layers",
    "task_idx": "the head for masked tokens has a projection per task",
}


def _read_config(config: Mapping[str, Any]) -> dict[str, Any]:
    for field, meaning in _REFUSED.items():
        if config.get(field):
            raise UserError(
                f"the configuration sets {field} to {config[field]!r}, with which {meaning}; vlp is built without, as "
                "the released models are"
            )
    names = {"img_dim": "region_dim", "num_region_classes": "num_region_classes"}
    return {ours: config[theirs] for theirs, ours in names.items() if theirs in config}


def _infer_sizes(tensors: Mapping[str, Tensor], sizes: Mapping[str, Any]) -> dict[str, int]:
    geometry = tensors.get("encoder.embed.regions.geometry.weight")
    return {} if geometry is None else {"num_region_classes": geometry.shape[1] - 6}


VLP_BASE = Recipe(
    name="vlp-base",
    family="vlp",
    paper="Zhou et al. 2020, Unified Vision-Language Pre-Training for Image Captioning and VQA, AAAI, arXiv:1909.11059",
    build=vlp,
    model_types=("bert",),
    reads=frozenset({"text", "regions"}),
    heads={"masked-tokens": masked_tokens, "fused-answers": fused_answers},
    objectives=("vlp-pretraining",),
    pretraining_heads=("masked-tokens",),
    weights=(
        *embedding_rules("bert.embeddings", "encoder.embed.text"),
        *layer_rules("bert.encoder.layer.{i}", "encoder.layers.{i}"),
        Rename("bert.pooler.dense.{leaf}", "encoder.pooler.dense.{leaf}"),
        Rename("vis_embed.0.{leaf}", "encoder.embed.regions.fc7.{leaf}"),
        Rename("vis_embed.2.{leaf}", "encoder.embed.regions.feature.{leaf}"),
        Rename("vis_pe_embed.0.{leaf}", "encoder.embed.regions.geometry.{leaf}"),
        *vocabulary_rules("bert.embeddings.word_embeddings.weight"),
        Drop("cls.seq_relationship.{leaf}", because="text and image are always a pair in VLP's pretraining"),
        Rename("ans_classifier.0.{leaf}", "heads.fused-answers.up_proj.{leaf}"),
        Rename("ans_classifier.2.{leaf}", "heads.fused-answers.out.{leaf}"),
    ),
    config_keys=BERT_FIELDS | NORM_AND_ATTENTION,
    read_config=_read_config,
    read_fields=frozenset(
        {"img_dim", "num_region_classes", *_REFUSED, "label_smoothing", "len_vis_input", "drop_worst_ratio"}
    ),
    infer_heads=rows_of({"fused-answers": {"num_answers": "out.bias"}}),
    infer_from_shapes={
        "region_dim": ("encoder.embed.regions.feature.weight", 1),
        "num_segments": ("encoder.embed.text.segment.weight", 0),
    },
    infer_sizes=_infer_sizes,
    convert_state=vlp_segments,
    text=TextFormat(image_first=True),
    notes=(
        "a text is written as [CLS] [SEP] words [SEP]; its image comes to stand behind [CLS]",
        "segments 0 (image) and 1 (text) where all tokens see each other, 4 and 5 with a text that is written word by "
        "word and visibility mm_kptm.nn.visibility.Prefix over the first two tokens",
        "the six numbers of a box are fractions of the largest corner among the boxes of the image, not of its size",
        "norms have eps 1e-5 where BERT has 1e-12",
        "a checkpoint of BERT or UniLM is a start: load its folder with fresh=['encoder.embed.regions.']; two segments "
        "become six",
    ),
)
