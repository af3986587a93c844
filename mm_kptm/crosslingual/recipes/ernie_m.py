"""ERNIE-M: XLM-R further pretrained with cross-attention masked language modelling."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import nn

from mm_kptm.models.single import SingleStream
from mm_kptm.nn.assembly import TextOnly
from mm_kptm.nn.attention import set_attention_dropout
from mm_kptm.nn.embeddings import TextEmbedding
from mm_kptm.nn.heads import Pooler
from mm_kptm.nn.init import bert_init
from mm_kptm.nn.sublayers import bert_layer
from mm_kptm.recipes.bert import BERT_FIELDS, answer_spans, token_classes
from mm_kptm.recipes.roberta import masked_tokens
from mm_kptm.systems.published_fields import check_fields
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Drop, Rename


def ernie_m(
    *,
    dim: int = 768,
    num_heads: int = 12,
    num_layers: int = 12,
    ffn_dim: int = 3072,
    vocab_size: int = 250002,
    max_positions: int = 514,
    activation: str = "gelu",
    norm_eps: float = 1e-5,
    dropout: float = 0.1,
    attention_dropout: float | None = None,
) -> SingleStream:
    """The encoder of Ouyang et al. (2021, section 4.1); the defaults are the base size.

    XLM-R with BERT's pooler. Positions are columns + 2, padding included. ``attention_dropout`` defaults to
    ``dropout``.
    """
    norm = partial(nn.LayerNorm, eps=norm_eps)
    text = TextEmbedding(
        vocab_size,
        dim,
        max_positions=max_positions,
        num_segments=0,
        position_offset=2,
        norm=norm(dim),
        dropout=dropout,
    )
    layers = (
        bert_layer(dim, num_heads, ffn_dim=ffn_dim, activation=activation, dropout=dropout, norm=norm)
        for _ in range(num_layers)
    )
    encoder = SingleStream(TextOnly(text), layers, Pooler(dim), dim=dim)
    if attention_dropout is not None:
        set_attention_dropout(encoder, attention_dropout)
    bert_init(encoder)
    return encoder


def classes(encoder: SingleStream, *, num_classes: int = 3, dropout: float = 0.1) -> nn.Sequential:
    """A linear layer on the pooled state of a text or a pair of texts."""
    return nn.Sequential(nn.Dropout(dropout), nn.Linear(encoder.dim, num_classes))


_FIELDS = {**BERT_FIELDS, "attention_probs_dropout_prob": "attention_dropout"}
del _FIELDS["type_vocab_size"]


def read_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Check the configuration; it has no further sizes.

    Raises:
        UserError: the configuration has an unsupported value.
    """
    built = {"is_decoder": (False,), "act_dropout": (0, 0.0)}
    check_fields("ernie-m", config, built)
    return {}


_LAYER, _OURS = "[ernie_m.]encoder.layers.{i}", "encoder.layers.{i}"
_ROLES = {"q_proj": "query", "k_proj": "key", "v_proj": "value"}

ERNIE_M_BASE = Recipe(
    name="ernie-m-base",
    family="ernie-m",
    paper="Ouyang et al. 2021, ERNIE-M: Enhanced Multilingual Representation by Aligning Cross-lingual Semantics with "
    "Monolingual Corpora, EMNLP, arXiv:2012.15674",
    build=ernie_m,
    model_types=("ernie_m",),
    reads=frozenset({"text"}),
    heads={
        "masked-tokens": masked_tokens,
        "classifier": classes,
        "token-classifier": token_classes,
        "answer-spans": answer_spans,
    },
    objectives=(
        "masked-tokens",
        "translation-language-modeling",
        "cross-attention-masked-tokens",
        "back-translated-masked-tokens",
    ),
    pretraining_heads=(),
    weights=(
        Rename("[ernie_m.]embeddings.word_embeddings.weight", "encoder.embed.text.word.weight"),
        Rename("[ernie_m.]embeddings.position_embeddings.weight", "encoder.embed.text.position.weight"),
        Rename("[ernie_m.]embeddings.layer_norm.{leaf}", "encoder.embed.text.norm.{leaf}"),
        Drop("[ernie_m.]embeddings.position_ids", because="a buffer that counts from 0"),
        *(
            Rename(f"{_LAYER}.self_attn.self_attn.{role}.{{leaf}}", f"{_OURS}.self_attention.attention.{mine}.{{leaf}}")
            for role, mine in _ROLES.items()
        ),
        Rename(f"{_LAYER}.self_attn.out_proj.{{leaf}}", f"{_OURS}.self_attention.attention.out_proj.{{leaf}}"),
        Rename(f"{_LAYER}.norm1.{{leaf}}", f"{_OURS}.self_attention.norm.{{leaf}}"),
        Rename(f"{_LAYER}.linear1.{{leaf}}", f"{_OURS}.ffn.up_proj.{{leaf}}"),
        Rename(f"{_LAYER}.linear2.{{leaf}}", f"{_OURS}.ffn.down_proj.{{leaf}}"),
        Rename(f"{_LAYER}.norm2.{{leaf}}", f"{_OURS}.ffn.norm.{{leaf}}"),
        Rename("[ernie_m.]pooler.dense.{leaf}", "encoder.pooler.dense.{leaf}"),
        Rename("classifier.{leaf}", "heads.classifier.1.{leaf}"),
        Rename("token.classifier.{leaf}", "heads.token-classifier.1.{leaf}"),
        Rename("[qa.]qa_outputs.{leaf}", "heads.answer-spans.{leaf}"),
    ),
    config_keys=_FIELDS,
    read_config=read_config,
    infer_from_shapes={
        "vocab_size": ("encoder.embed.text.word.weight", 0),
        "max_positions": ("encoder.embed.text.position.weight", 0),
    },
    notes=(
        "no masked-token head was published; the one here is XLM-R's, with fresh weights",
        "a pair is [CLS] a [SEP] [SEP] b [SEP] and has no segments",
        "which rows a masked token sees in pretraining is one reading of the paper, whose program was not published",
    ),
)

ERNIE_M_LARGE = Recipe(
    **{
        **vars(ERNIE_M_BASE),
        "name": "ernie-m-large",
        "sizes": {"dim": 1024, "num_heads": 16, "num_layers": 24, "ffn_dim": 4096},
    }
)
