"""SenseBERT: BERT with supersense embeddings and supersense prediction."""

from torch import nn

from mm_kptm.knowledge.fusion.sense_embedding import SenseEmbedding
from mm_kptm.models.single import SingleStream
from mm_kptm.nn.assembly import TextOnly
from mm_kptm.nn.heads import Pooler, TiedVocabulary, Transform
from mm_kptm.nn.init import bert_init
from mm_kptm.nn.sublayers import bert_layer
from mm_kptm.nn.submodules import submodule
from mm_kptm.recipes.bert import (
    BERT_FIELDS,
    activation_of,
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
def sensebert(
    *,
    dim: int = 768,
    num_heads: int = 12,
    num_layers: int = 12,
    ffn_dim: int = 3072,
    vocab_size: int = 60000,
    max_positions: int = 512,
    num_segments: int = 2,
    activation: str = "gelu",
    dropout: float = 0.1,
) -> SingleStream:
    """Encoder of Levine et al. (2020, figure 1); the defaults are the base model with its doubled vocabulary.

    A new system has no senses for any word: ``encoder.embed.text.allow`` sets them from a
    :class:`~mm_kptm.knowledge.lexicons.supersenses.SenseVocabulary`; saved systems include them.
    """
    text = SenseEmbedding(vocab_size, dim, max_positions=max_positions, num_segments=num_segments, dropout=dropout)
    layers = (
        bert_layer(dim, num_heads, ffn_dim=ffn_dim, activation=activation, dropout=dropout) for _ in range(num_layers)
    )
    encoder = SingleStream(TextOnly(text), layers, Pooler(dim), dim=dim)
    bert_init(encoder)
    return encoder


def supersenses(encoder: SingleStream) -> TiedVocabulary:
    """Output layer over supersenses: dense, the encoder's activation, norm, tied vectors (section 3.2)."""
    transform = Transform(encoder.dim, activation=activation_of(encoder))
    bert_init(transform)
    return TiedVocabulary(transform, submodule(encoder, "embed.text.sense", nn.Embedding))


SENSEBERT_BASE = Recipe(
    name="sensebert-base",
    family="sensebert",
    paper="Levine et al. 2020, SenseBERT: Driving Some Sense into BERT, ACL, arXiv:1908.05646",
    build=sensebert,
    model_types=("bert",),
    reads=frozenset({"text"}),
    heads={"masked-tokens": masked_tokens, "supersenses": supersenses, "next-sentence": pair_classes},
    objectives=("masked-senses", "next-sentence"),
    pretraining_heads=("masked-tokens", "supersenses", "next-sentence"),
    weights=(
        *embedding_rules("[bert.]embeddings", "encoder.embed.text"),
        Drop("[bert.]embeddings.position_ids", because="a buffer that counts from 0"),
        *layer_rules("[bert.]encoder.layer.{i}", "encoder.layers.{i}"),
        Rename("[bert.]pooler.dense.{leaf}", "encoder.pooler.dense.{leaf}"),
        *vocabulary_rules("bert.embeddings.word_embeddings.weight"),
        Rename("cls.seq_relationship.{leaf}", "heads.next-sentence.{leaf}"),
    ),
    config_keys=BERT_FIELDS,
    infer_from_shapes={
        "vocab_size": ("encoder.embed.text.word.weight", 0),
        "max_positions": ("encoder.embed.text.position.weight", 0),
        "num_segments": ("encoder.embed.text.segment.weight", 0),
    },
    notes=(
        "the released models are TensorFlow graphs that were not read: the map is BERT's, to start from a BERT with "
        "fresh=['encoder.embed.text.sense.', 'encoder.embed.text.allowed', 'heads.supersenses.']",
        "the paper writes both heads as a product with the encoder's output; that of words has BERT's dense layer "
        "before it, and so has that of supersenses here",
        "the paper says 60K pieces; how many the released vocabulary has was not checked",
        "base forms of words that WordNet lacks follow WordNet's own rules, in every part of speech; the "
        "paper names no lemmatiser, and its list of stop words was not published",
        "of the paper's two treatments of words with several pieces this is the one of its further experiments: the "
        "pieces are predicted without a supersense",
        "attention dropout equals the dropout of the states, as in BERT's published configurations",
    ),
)

SENSEBERT_LARGE = Recipe(
    **{
        **vars(SENSEBERT_BASE),
        "name": "sensebert-large",
        "sizes": {"dim": 1024, "num_heads": 16, "num_layers": 24, "ffn_dim": 4096},
    }
)
