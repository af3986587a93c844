"""SpanBERT: BERT on single sequences with masked spans, predicted also from their boundaries."""

from typing import Any

from torch import nn

from mm_kptm.models.single import SingleStream
from mm_kptm.nn.init import bert_init
from mm_kptm.nn.submodules import submodule
from mm_kptm.objectives.span_boundary import SpanBoundary
from mm_kptm.recipes.bert import (
    BERT_FIELDS,
    activation_of,
    bert,
    embedding_rules,
    layer_rules,
    masked_tokens,
    vocabulary_rules,
)
from mm_kptm.systems.norm_eps import takes_norm_eps
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Drop, Rename, Rule, Same


@takes_norm_eps
def spanbert(
    *,
    dim: int = 768,
    num_heads: int = 12,
    num_layers: int = 12,
    ffn_dim: int = 3072,
    vocab_size: int = 28996,
    max_positions: int = 512,
    num_segments: int = 2,
    activation: str = "gelu",
    dropout: float = 0.1,
) -> SingleStream:
    """The encoder of Joshi et al. (2020, section 3.3); the defaults are SpanBERT-base, cased.

    BERT without next-sentence prediction, hence without a trained pooler: the pooled state is the first state.
    """
    encoder = bert(
        dim=dim,
        num_heads=num_heads,
        num_layers=num_layers,
        ffn_dim=ffn_dim,
        vocab_size=vocab_size,
        max_positions=max_positions,
        num_segments=num_segments,
        activation=activation,
        dropout=dropout,
    )
    encoder.pooler = nn.Identity()
    return encoder


def span_boundary(encoder: SingleStream, *, num_places: int = 20, place_dim: int = 200) -> SpanBoundary:
    """Span-boundary head: two dense-activation-norm blocks, then the tied word embeddings (section 3.2)."""
    word = submodule(encoder, "embed.text.word", nn.Embedding)
    head = SpanBoundary(
        encoder.dim, word, num_places=num_places, place_dim=place_dim, activation=activation_of(encoder)
    )
    for fresh in (head.place, head.scores.transform):
        bert_init(fresh)
    return head


_PAIR, _OURS = "[decoder.]cls.pair_target_predictions", "heads.span-boundary"
_MLP = f"{_PAIR}.mlp_layer_norm"


def _pretraining_rules(beginning: str) -> tuple[Rule, ...]:
    """Key renamings of the tensors tied to the word embeddings, in a file whose keys begin with ``beginning``."""
    words = f"{beginning}bert.embeddings.word_embeddings.weight"
    return (
        *vocabulary_rules(words, f"{beginning}cls"),
        Same(f"{beginning}cls.pair_target_predictions.decoder.weight", as_=words),
    )


SPANBERT_BASE = Recipe(
    name="spanbert-base",
    family="spanbert",
    paper="Joshi et al. 2020, SpanBERT: Improving Pre-training by Representing and Predicting Spans, TACL, "
    "arXiv:1907.10529",
    build=spanbert,
    model_types=("bert",),
    reads=frozenset({"text"}),
    heads={"masked-tokens": masked_tokens, "span-boundary": span_boundary},
    objectives=("masked-spans",),
    pretraining_heads=("masked-tokens", "span-boundary"),
    weights=(
        *embedding_rules("[decoder.][bert.]embeddings", "encoder.embed.text"),
        Drop("[decoder.][bert.]embeddings.position_ids", because="a buffer that counts from 0"),
        *layer_rules("[decoder.][bert.]encoder.layer.{i}", "encoder.layers.{i}"),
        Drop("[decoder.][bert.]pooler.dense.{leaf}", because="no pretraining trained it"),
        *_pretraining_rules(""),
        *_pretraining_rules("decoder."),
        Rename(f"{_PAIR}.position_embeddings.weight", f"{_OURS}.place.weight"),
        *(
            Rename(f"{_MLP}.{theirs}{number + 1}.{{leaf}}", f"{_OURS}.scores.transform.{number}.{ours}.{{leaf}}")
            for number in (0, 1)
            for theirs, ours in (("linear", "dense"), ("layer_norm", "norm"))
        ),
        Rename(f"{_PAIR}.bias", f"{_OURS}.scores.bias"),
    ),
    config_keys=BERT_FIELDS,
    infer_from_shapes={
        "vocab_size": ("encoder.embed.text.word.weight", 0),
        "max_positions": ("encoder.embed.text.position.weight", 0),
    },
    notes=(
        "attention dropout equals the dropout of the states, as in every published configuration",
        "the files released for Hugging Face hold the encoder alone; the trainer's own file, whose names begin with "
        "'decoder.', holds both heads",
        "the last span of a sequence is cut where 15 % are masked, even within a word, and adjacent spans are merged, "
        "as in the released code; the paper says neither",
        "a span next to a special token at the beginning or end has no boundary loss, as in the released code",
        "the released code divides the boundary loss by one more than the number of predictions; here it is a mean",
    ),
)

_LARGE: dict[str, Any] = {"dim": 1024, "num_heads": 16, "num_layers": 24, "ffn_dim": 4096}

SPANBERT_LARGE = Recipe(**{**vars(SPANBERT_BASE), "name": "spanbert-large", "sizes": _LARGE})
