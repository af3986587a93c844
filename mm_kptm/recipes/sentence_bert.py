"""Sentence encoders of BERT's form: a text is the mean of its states (Sentence-BERT)."""

from __future__ import annotations

from typing import Any

from torch import nn

from mm_kptm.batch import ALL_ROWS, EVERY_ROW, Encoded, Inputs, OutputRows
from mm_kptm.models.single import SingleStream
from mm_kptm.nn.assembly import required_text
from mm_kptm.nn.pooling import mean
from mm_kptm.recipes.bert import (
    BERT_FIELDS,
    FINE_TUNED_RULES,
    NORM_AND_ATTENTION,
    answer_spans,
    bert,
    class_counts,
    classes,
    embedding_rules,
    layer_rules,
    masked_tokens,
    token_classes,
)
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Drop


class SentenceEncoder(SingleStream):
    """BERT whose pooled vector is the mean of all final states (Reimers and Gurevych 2019, section 3).

    Shapes: T token rows, B texts, D dim.
    """

    def forward(self, inputs: Inputs, output_rows: OutputRows = ALL_ROWS) -> Encoded:
        """The wanted states of tokens [T, D]; pooled: their means, special tokens included, [B, D]."""
        if not output_rows.pooled:
            return super().forward(inputs, output_rows)
        rows = super().forward(inputs, OutputRows({"text": EVERY_ROW}, pooled=False)).text
        states = {"text": rows[output_rows["text"]]} if output_rows.wants("text") else {}
        return Encoded(states, mean(rows, required_text(inputs).layout))


def sentence_bert(
    *,
    dim: int = 384,
    num_heads: int = 12,
    num_layers: int = 6,
    ffn_dim: int = 1536,
    vocab_size: int = 30522,
    max_positions: int = 512,
    num_segments: int = 2,
    activation: str = "gelu",
    norm_eps: float = 1e-12,
    dropout: float = 0.1,
    attention_dropout: float | None = None,
) -> SentenceEncoder:
    """BERT without its pooler; the defaults are those of all-MiniLM-L6-v2."""
    sizes: dict[str, Any] = {
        "dim": dim, "num_heads": num_heads, "num_layers": num_layers, "ffn_dim": ffn_dim, "vocab_size": vocab_size,
        "max_positions": max_positions, "num_segments": num_segments, "activation": activation, "norm_eps": norm_eps,
        "dropout": dropout, "attention_dropout": attention_dropout,
    }  # fmt: skip
    built = bert(**sizes)
    return SentenceEncoder(built.embed, built.layers, nn.Identity(), dim=dim)


ALL_MINILM_L6_V2 = Recipe(
    name="all-minilm-l6-v2",
    family="sentence-bert",
    paper="Reimers and Gurevych 2019, Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks, EMNLP, "
    "arXiv:1908.10084; from MiniLM, Wang et al. 2020, arXiv:2002.10957",
    build=sentence_bert,
    reads=frozenset({"text"}),
    heads={
        "masked-tokens": masked_tokens,
        "classifier": classes,
        "token-classifier": token_classes,
        "answer-spans": answer_spans,
    },
    objectives=("masked-tokens",),
    pretraining_heads=(),
    weights=(
        *embedding_rules("[bert.]embeddings", "encoder.embed.text"),
        Drop("[bert.]embeddings.position_ids", because="a buffer that counts from 0"),
        *layer_rules("[bert.]encoder.layer.{i}", "encoder.layers.{i}"),
        Drop("[bert.]pooler.dense.{leaf}", because="a text is the mean of its states, not the state of [CLS]"),
        *FINE_TUNED_RULES,
    ),
    infer_heads=class_counts,
    infer_from_shapes={
        "vocab_size": ("encoder.embed.text.word.weight", 0),
        "dim": ("encoder.embed.text.word.weight", 1),
        "max_positions": ("encoder.embed.text.position.weight", 0),
        "num_segments": ("encoder.embed.text.segment.weight", 0),
    },
    config_keys=BERT_FIELDS | NORM_AND_ATTENTION,
    model_types=("bert",),
    notes=(
        "texts were cut at 256 tokens in training; vectors are compared by their cosine",
        "the released model was tuned by contrast on pairs of sentences and has no masked-token head",
    ),
)

MULTILINGUAL_E5_SMALL = Recipe(
    **{
        **vars(ALL_MINILM_L6_V2),
        "name": "multilingual-e5-small",
        "family": "multilingual-e5",
        "paper": "Wang et al. 2024, Multilingual E5 Text Embeddings: A Technical Report, arXiv:2402.05672",
        "sizes": {"num_layers": 12, "vocab_size": 250037},
        "notes": (
            "a text begins with `query: ` or `passage: `, in training and after it; both sides of a symmetric task "
            "with the first",
            "XLM-R's tokenizer in front of an encoder of BERT's form, which counts positions from 0; the word table "
            "has 35 rows beyond the last piece",
        ),
    }
)
