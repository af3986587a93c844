"""ZEN: a Chinese BERT whose characters also get the states of the n-grams that cover them."""

from mm_kptm.knowledge.fusion.ngram_encoder import NgramEmbedding, NgramStream
from mm_kptm.nn.init import bert_init
from mm_kptm.nn.sublayers import bert_layer
from mm_kptm.recipes.bert import (
    BERT_FIELDS,
    bert,
    embedding_rules,
    layer_rules,
    masked_tokens,
    pair_classes,
    vocabulary_rules,
)
from mm_kptm.systems.norm_eps import takes_norm_eps
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Drop, Rename


@takes_norm_eps
def zen(
    *,
    dim: int = 768,
    num_heads: int = 12,
    num_layers: int = 12,
    num_ngram_layers: int = 6,
    ffn_dim: int = 3072,
    vocab_size: int = 21128,
    num_ngrams: int = 104089,
    max_positions: int = 512,
    num_segments: int = 2,
    activation: str = "gelu",
    dropout: float = 0.1,
) -> NgramStream:
    """Encoder of Diao et al. (2020, figure 1); the defaults are the released model's.

    N-grams of a text are candidates with the key ``n-grams``, made by
    :meth:`~mm_kptm.knowledge.lexicons.ngrams.NgramLexicon.candidates`; without any the encoder equals BERT.
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
    layers = (
        bert_layer(dim, num_heads, ffn_dim=ffn_dim, activation=activation, dropout=dropout)
        for _ in range(num_ngram_layers)
    )
    stream = NgramStream(encoder, NgramEmbedding(num_ngrams, dim, num_segments=num_segments, dropout=dropout), layers)
    bert_init(stream.embed_ngrams)
    bert_init(stream.ngram_layers)
    return stream


_TEXT, _NGRAMS = "encoder.embed.text", "encoder.embed_ngrams"

ZEN = Recipe(
    name="zen-base",
    family="zen",
    paper="Diao et al. 2020, ZEN: Pre-training Chinese Text Encoder Enhanced by N-gram Representations, Findings of "
    "EMNLP, arXiv:1911.00720",
    build=zen,
    model_types=("bert", "zen"),
    reads=frozenset({"text", "candidates"}),
    heads={"masked-tokens": masked_tokens, "next-sentence": pair_classes},
    objectives=("masked-tokens", "next-sentence"),
    weights=(
        *embedding_rules("[bert.]embeddings", _TEXT),
        Drop("[bert.]embeddings.position_ids", because="a buffer that counts from 0"),
        Rename("[bert.]word_embeddings.word_embeddings.weight", f"{_NGRAMS}.word.weight"),
        Rename("[bert.]word_embeddings.token_type_embeddings.weight", f"{_NGRAMS}.segment.weight"),
        Rename("[bert.]word_embeddings.LayerNorm.{leaf}", f"{_NGRAMS}.norm.{{leaf}}"),
        *layer_rules("[bert.]encoder.layer.{i}", "encoder.layers.{i}"),
        *layer_rules("[bert.]encoder.word_layers.{i}", "encoder.ngram_layers.{i}"),
        Rename("[bert.]pooler.dense.{leaf}", "encoder.pooler.dense.{leaf}"),
        *vocabulary_rules("bert.embeddings.word_embeddings.weight"),
        Rename("cls.seq_relationship.{leaf}", "heads.next-sentence.{leaf}"),
    ),
    config_keys={**BERT_FIELDS, "num_hidden_word_layers": "num_ngram_layers", "word_size": "num_ngrams"},
    infer_from_shapes={
        "vocab_size": (f"{_TEXT}.word.weight", 0),
        "max_positions": (f"{_TEXT}.position.weight", 0),
        "num_segments": (f"{_TEXT}.segment.weight", 0),
        "num_ngrams": (f"{_NGRAMS}.word.weight", 0),
    },
    notes=(
        "names and wiring follow the released code, but were not compared with its outputs",
        "after the last n-gram layer the released code keeps adding its output; the paper does not say so",
        "the released code calls the segment of an n-gram that of its first character, and so do we",
        "the released scripts shuffle the n-grams of a text before they cut them to 20 (pretraining) or 128; ours "
        "sample as many without the shuffle, as n-grams have no order",
        "row 0 of the n-grams is padding and is never used",
        "attention dropout equals the dropout of the states, as in the released configuration",
    ),
)
