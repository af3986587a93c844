"""RoBERTa: builder, heads and key renamings of both published layouts, shared by the systems built on it."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from torch import nn

from mm_kptm.models.single import SingleStream
from mm_kptm.nn.assembly import TextOnly
from mm_kptm.nn.attention import set_attention_dropout
from mm_kptm.nn.embeddings import TextEmbedding
from mm_kptm.nn.heads import Pooler, TiedVocabulary, Transform
from mm_kptm.nn.init import bert_init
from mm_kptm.nn.sublayers import bert_layer
from mm_kptm.nn.submodules import submodule
from mm_kptm.recipes.bert import (
    BERT_FIELDS,
    activation_of,
    answer_spans,
    class_counts,
    embedding_rules,
    layer_rules,
    norm_of,
    token_classes,
)
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Drop, Rename, Rule, Same, Split
from mm_kptm.systems.transformers_form import ROBERTA_FORM


def roberta(
    *,
    dim: int = 768,
    num_heads: int = 12,
    num_layers: int = 12,
    ffn_dim: int = 3072,
    vocab_size: int = 50265,
    max_positions: int = 514,
    num_segments: int = 0,
    position_offset: int = 2,
    activation: str = "gelu",
    norm_eps: float = 1e-5,
    dropout: float = 0.1,
    attention_dropout: float | None = None,
) -> SingleStream:
    """The encoder of Liu et al. (2019, section 3); the defaults are RoBERTa-base.

    BERT without segments, with eps 1e-5 in its norms. The first token of a text has position ``position_offset``, the
    padding id + 1, so that two rows of ``max_positions`` are never read. Hugging Face's files have a table of one
    segment. There is no trained pooler: the pooled state is the first one as it is. ``attention_dropout`` is that of
    the states unless given.
    """
    norm = partial(nn.LayerNorm, eps=norm_eps)
    text = TextEmbedding(
        vocab_size,
        dim,
        max_positions=max_positions,
        num_segments=num_segments,
        position_offset=position_offset,
        norm=norm(dim),
        dropout=dropout,
    )
    layers = (
        bert_layer(dim, num_heads, ffn_dim=ffn_dim, activation=activation, dropout=dropout, norm=norm)
        for _ in range(num_layers)
    )
    encoder = text_stream(text, layers, dim=dim)
    set_attention_dropout(encoder, attention_dropout)
    return encoder


def text_stream(text: nn.Module, layers: Iterable[nn.Module], *, dim: int) -> SingleStream:
    """Single-stream text encoder without a trained pooler: the pooled state is the first state."""
    encoder = SingleStream(TextOnly(text), layers, nn.Identity(), dim=dim)
    bert_init(encoder)
    return encoder


def masked_tokens(encoder: SingleStream, *, activation: str = "") -> TiedVocabulary:
    """Dense, an activation, norm, then the words as output matrix (Liu et al. 2019, section 2.3).

    The activation is the encoder's unless given, as in fairseq; transformers has GELU whatever the encoder has.
    """
    transform = Transform(encoder.dim, activation=activation or activation_of(encoder), norm=norm_of(encoder))
    head = TiedVocabulary(transform, submodule(encoder, "embed.text.word", nn.Embedding))
    bert_init(head.transform)
    return head


def configured_heads(config: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Sizes of heads that a configuration of transformers asks for."""
    return {"masked-tokens": {"activation": "gelu"}} if config.get("hidden_act", "gelu") != "gelu" else {}


def classes(encoder: SingleStream, *, num_classes: int = 2, dropout: float = 0.0) -> nn.Sequential:
    """Dense, tanh, linear on the first state of a text or a pair of texts (Liu et al. 2019, section 5.1)."""
    return dense_tanh_linear(encoder.dim, num_classes, dropout=dropout)


def dense_tanh_linear(width: int, num_classes: int, *, dropout: float = 0.0) -> nn.Sequential:
    """RoBERTa's classification head on rows of any width, with dropout before both linear layers."""
    parts: list[tuple[str, nn.Module]] = [
        ("drop_in", nn.Dropout(dropout)),
        ("pool", Pooler(width)),
        ("drop_out", nn.Dropout(dropout)),
        ("out", nn.Linear(width, num_classes)),
    ]
    head = nn.Sequential(OrderedDict(parts))
    bert_init(head)
    return head


_ATTENTION = ("query", "key", "value")


def fairseq_rules(theirs: str, ours: str) -> tuple[Rule, ...]:
    """Key renamings of fairseq's encoder from the prefix ``theirs`` to the prefix ``ours``.

    Older files stack the projections of query, key and value in one tensor, newer ones have three.
    """
    layer, place = f"{theirs}.layers.{{i}}", f"{ours}.layers.{{i}}"
    attention = f"{place}.self_attention.attention"
    stacked = {leaf: tuple(f"{attention}.{role}.{leaf}" for role in _ATTENTION) for leaf in ("weight", "bias")}
    return (
        Rename(f"{theirs}.embed_tokens.weight", f"{ours}.embed.text.word.weight"),
        Rename(f"{theirs}.embed_positions.weight", f"{ours}.embed.text.position.weight"),
        Rename(f"{theirs}.emb_layer_norm.{{leaf}}", f"{ours}.embed.text.norm.{{leaf}}"),
        Rename(f"{theirs}.layernorm_embedding.{{leaf}}", f"{ours}.embed.text.norm.{{leaf}}"),
        Drop(f"{theirs}.version", because="a number that says which fairseq wrote the file"),
        *(Split(f"{layer}.self_attn.in_proj_{leaf}", names) for leaf, names in stacked.items()),
        *(Rename(f"{layer}.self_attn.{role[0]}_proj.{{leaf}}", f"{attention}.{role}.{{leaf}}") for role in _ATTENTION),
        Rename(f"{layer}.self_attn.out_proj.{{leaf}}", f"{attention}.out_proj.{{leaf}}"),
        Rename(f"{layer}.self_attn_layer_norm.{{leaf}}", f"{place}.self_attention.norm.{{leaf}}"),
        Rename(f"{layer}.fc1.{{leaf}}", f"{place}.ffn.up_proj.{{leaf}}"),
        Rename(f"{layer}.fc2.{{leaf}}", f"{place}.ffn.down_proj.{{leaf}}"),
        Rename(f"{layer}.final_layer_norm.{{leaf}}", f"{place}.ffn.norm.{{leaf}}"),
    )


def fairseq_head_rules(side: str) -> tuple[Rule, ...]:
    """Key renamings of fairseq's masked-token head under the module that the file calls ``side``."""
    head = "heads.masked-tokens"
    return (
        Rename(f"{side}.lm_head.bias", f"{head}.bias"),
        Rename(f"{side}.lm_head.dense.{{leaf}}", f"{head}.transform.dense.{{leaf}}"),
        Rename(f"{side}.lm_head.layer_norm.{{leaf}}", f"{head}.transform.norm.{{leaf}}"),
        Same(f"{side}.lm_head.weight", as_=f"{side}.sentence_encoder.embed_tokens.weight"),
    )


def hugging_face_rules(theirs: str, ours: str) -> tuple[Rule, ...]:
    """Key renamings of Hugging Face's encoder from the prefix ``theirs`` (with its dot) to the prefix ``ours``."""
    return (
        *embedding_rules(f"{theirs}embeddings", f"{ours}.embed.text"),
        Drop(f"{theirs}embeddings.position_ids", because="a buffer that counts from 0"),
        *layer_rules(f"{theirs}encoder.layer.{{i}}", f"{ours}.layers.{{i}}"),
        Drop(
            f"{theirs}pooler.dense.{{leaf}}", because="no pretraining trained it; heads have dense layers of their own"
        ),
    )


#: Key renamings of Hugging Face's masked-token head.
HUGGING_FACE_HEAD_RULES: tuple[Rule, ...] = (
    Rename("lm_head.bias", "heads.masked-tokens.bias"),
    Rename("lm_head.dense.{leaf}", "heads.masked-tokens.transform.dense.{leaf}"),
    Rename("lm_head.layer_norm.{leaf}", "heads.masked-tokens.transform.norm.{leaf}"),
    Same("lm_head.decoder.weight", as_="roberta.embeddings.word_embeddings.weight"),
    Same("lm_head.decoder.bias", as_="lm_head.bias"),
)

_FAIRSEQ_FIELDS = {
    "encoder_embed_dim": "dim",
    "encoder_attention_heads": "num_heads",
    "encoder_layers": "num_layers",
    "encoder_ffn_embed_dim": "ffn_dim",
    "activation_fn": "activation",
    "dropout": "dropout",
    "attention_dropout": "attention_dropout",
}

#: Fields of Hugging Face's ``config.json`` and of fairseq's arguments that size an encoder of RoBERTa's kind.
ROBERTA_FIELDS = {
    **BERT_FIELDS,
    **{theirs: ours for theirs, ours in _FAIRSEQ_FIELDS.items() if ours != "attention_dropout"},
}


def fairseq_sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    """The sizes among the arguments that fairseq's trainer saves in its checkpoint."""
    args = config.get("args", {})
    return {ours: args[theirs] for theirs, ours in _FAIRSEQ_FIELDS.items() if theirs in args}


def first_position(config: Mapping[str, Any]) -> dict[str, int]:
    """Where positions begin: behind the padding id, whose row of their table no token reads."""
    padding = config.get("pad_token_id")
    return {} if padding is None else {"position_offset": padding + 1}


def roberta_sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    """What no name of a field says: fairseq's arguments, where positions begin, a dropout of attention weights."""
    rates = {"attention_dropout": "attention_dropout", "attention_probs_dropout_prob": "attention_dropout"}
    named = {ours: config[theirs] for theirs, ours in rates.items() if theirs in config}
    return {**named, **fairseq_sizes(config), **first_position(config)}


#: The fields that :func:`roberta_sizes` reads.
ROBERTA_READ = frozenset({"args", "pad_token_id", "attention_dropout", "attention_probs_dropout_prob"})


#: Tables whose sizes a checkpoint tells whatever its configuration says of them.
ROBERTA_TABLES = {
    "vocab_size": ("encoder.embed.text.word.weight", 0),
    "max_positions": ("encoder.embed.text.position.weight", 0),
    "num_segments": ("encoder.embed.text.segment.weight", 0),
}

#: What fairseq calls the part with the encoder in it: ``decoder`` in older files, ``encoder`` in newer ones.
SIDE = "{side}"

ROBERTA_BASE = Recipe(
    name="roberta-base",
    family="roberta",
    paper="Liu et al. 2019, RoBERTa: A Robustly Optimized BERT Pretraining Approach, arXiv:1907.11692",
    build=roberta,
    reads=frozenset({"text"}),
    heads={
        "masked-tokens": masked_tokens,
        "classifier": classes,
        "token-classifier": token_classes,
        "answer-spans": answer_spans,
    },
    objectives=("masked-tokens",),
    weights=(
        *fairseq_rules(f"{SIDE}.sentence_encoder", "encoder"),
        *fairseq_head_rules(SIDE),
        Rename("classification_heads.{name}.dense.{leaf}", "heads.classifier.pool.dense.{leaf}"),
        Rename("classification_heads.{name}.out_proj.{leaf}", "heads.classifier.out.{leaf}"),
        *hugging_face_rules("[roberta.]", "encoder"),
        *HUGGING_FACE_HEAD_RULES,
        Rename("classifier.dense.{leaf}", "heads.classifier.pool.dense.{leaf}"),
        Rename("classifier.out_proj.{leaf}", "heads.classifier.out.{leaf}"),
        Rename("classifier.{leaf}", "heads.token-classifier.1.{leaf}"),
        Rename("qa_outputs.{leaf}", "heads.answer-spans.{leaf}"),
    ),
    infer_heads=class_counts,
    configured_heads=configured_heads,
    config_keys=ROBERTA_FIELDS,
    model_types=("roberta",),
    transformers=ROBERTA_FORM,
    read_config=roberta_sizes,
    read_fields=ROBERTA_READ,
    infer_from_shapes=ROBERTA_TABLES,
)

ROBERTA_LARGE = Recipe(
    **{
        **vars(ROBERTA_BASE),
        "name": "roberta-large",
        "sizes": {"dim": 1024, "num_heads": 16, "num_layers": 24, "ffn_dim": 4096},
    }
)
