"""K-BERT: a BERT of the UER toolkit over sentence trees."""

from collections import OrderedDict

from torch import nn

from mm_kptm.models.single import SingleStream
from mm_kptm.nn.assembly import TextOnly
from mm_kptm.nn.embeddings import TextEmbedding
from mm_kptm.nn.heads import Pooler, Transform
from mm_kptm.nn.init import bert_init
from mm_kptm.nn.sublayers import UnbiasedNorm, bert_layer
from mm_kptm.nn.submodules import submodule
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Rename
from mm_kptm.systems.text_format import UER_FORMAT


def kbert(
    *,
    dim: int = 768,
    num_heads: int = 12,
    num_layers: int = 12,
    ffn_dim: int = 3072,
    vocab_size: int = 21128,
    max_positions: int = 512,
    num_segments: int = 3,
    dropout: float = 0.1,
) -> SingleStream:
    """Encoder of Liu et al. (2020, section 3.4), BERT with UER's norm; the defaults are its Chinese base model.

    Knowledge adds no parameter: :class:`~mm_kptm.knowledge.injection.sentence_tree.Trees` have soft positions and a
    visible matrix, which any text encoder of the suite can read. Segment 0 is UER's padding; sentences are segments 1
    and 2. The pooled state is the first hidden state: each head has its own dense layer for it.
    """
    text = TextEmbedding(
        vocab_size,
        dim,
        max_positions=max_positions,
        num_segments=num_segments,
        norm=UnbiasedNorm(dim),
        dropout=dropout,
    )
    layers = (
        bert_layer(dim, num_heads, ffn_dim=ffn_dim, dropout=dropout, norm=UnbiasedNorm) for _ in range(num_layers)
    )
    encoder = SingleStream(TextOnly(text), layers, nn.Identity(), dim=dim)
    bert_init(encoder)
    return encoder


def masked_tokens(encoder: SingleStream) -> nn.Sequential:
    """Output layer with dense, GELU, UER's norm, and a matrix that is not tied to the word embeddings."""
    vocab_size = submodule(encoder, "embed.text.word", nn.Embedding).num_embeddings
    out = nn.Linear(encoder.dim, vocab_size)
    return _fresh(transform=Transform(encoder.dim, norm=UnbiasedNorm), out=out)


def sentence_classes(encoder: SingleStream, *, num_classes: int = 2) -> nn.Sequential:
    """Sentence or pair classifier: dense and tanh on a pooled state (:mod:`mm_kptm.nn.pooling`), then linear."""
    return _fresh(pool=Pooler(encoder.dim), out=nn.Linear(encoder.dim, num_classes))


def token_classes(encoder: SingleStream, *, num_classes: int = 2) -> nn.Linear:
    """Linear layer on every token; tokens of facts have a class of their own."""
    head = nn.Linear(encoder.dim, num_classes)
    bert_init(head)
    return head


def _fresh(**parts: nn.Module) -> nn.Sequential:
    head = nn.Sequential(OrderedDict(parts))
    bert_init(head)
    return head


_LAYER = "encoder.transformer.{i}"
_OURS = "encoder.layers.{i}"

KBERT_BASE = Recipe(
    name="kbert-base",
    family="kbert",
    paper="Liu et al. 2020, K-BERT: Enabling Language Representation with Knowledge Graph, AAAI, arXiv:1909.07606",
    build=kbert,
    reads=frozenset({"text"}),
    heads={
        "masked-tokens": masked_tokens,
        "next-sentence": sentence_classes,
        "classifier": sentence_classes,
        "tagger": token_classes,
    },
    objectives=("masked-tokens", "next-sentence"),
    text=UER_FORMAT,
    weights=(
        Rename("embedding.word_embedding.weight", "encoder.embed.text.word.weight"),
        Rename("embedding.position_embedding.weight", "encoder.embed.text.position.weight"),
        Rename("embedding.segment_embedding.weight", "encoder.embed.text.segment.weight"),
        Rename("embedding.layer_norm.{leaf}", "encoder.embed.text.norm.{leaf}"),
        Rename(f"{_LAYER}.self_attn.linear_layers.0.{{leaf}}", f"{_OURS}.self_attention.attention.query.{{leaf}}"),
        Rename(f"{_LAYER}.self_attn.linear_layers.1.{{leaf}}", f"{_OURS}.self_attention.attention.key.{{leaf}}"),
        Rename(f"{_LAYER}.self_attn.linear_layers.2.{{leaf}}", f"{_OURS}.self_attention.attention.value.{{leaf}}"),
        Rename(f"{_LAYER}.self_attn.final_linear.{{leaf}}", f"{_OURS}.self_attention.attention.out_proj.{{leaf}}"),
        Rename(f"{_LAYER}.layer_norm_1.{{leaf}}", f"{_OURS}.self_attention.norm.{{leaf}}"),
        Rename(f"{_LAYER}.feed_forward.linear_1.{{leaf}}", f"{_OURS}.ffn.up_proj.{{leaf}}"),
        Rename(f"{_LAYER}.feed_forward.linear_2.{{leaf}}", f"{_OURS}.ffn.down_proj.{{leaf}}"),
        Rename(f"{_LAYER}.layer_norm_2.{{leaf}}", f"{_OURS}.ffn.norm.{{leaf}}"),
        Rename("target.mlm_linear_1.{leaf}", "heads.masked-tokens.transform.dense.{leaf}"),
        Rename("target.layer_norm.{leaf}", "heads.masked-tokens.transform.norm.{leaf}"),
        Rename("target.mlm_linear_2.{leaf}", "heads.masked-tokens.out.{leaf}"),
        Rename("target.nsp_linear_1.{leaf}", "heads.next-sentence.pool.dense.{leaf}"),
        Rename("target.nsp_linear_2.{leaf}", "heads.next-sentence.out.{leaf}"),
        Rename("output_layer_1.{leaf}", "heads.classifier.pool.dense.{leaf}"),
        Rename("output_layer_2.{leaf}", "heads.classifier.out.{leaf}"),
        Rename("output_layer.{leaf}", "heads.tagger.{leaf}"),
    ),
    config_keys={
        "hidden_size": "dim",
        "heads_num": "num_heads",
        "layers_num": "num_layers",
        "feedforward_size": "ffn_dim",
        "dropout": "dropout",
    },
    infer_from_shapes={
        "vocab_size": ("encoder.embed.text.word.weight", 0),
        "max_positions": ("encoder.embed.text.position.weight", 0),
        "num_segments": ("encoder.embed.text.segment.weight", 0),
    },
    notes=(
        "the released code picks the facts of a word in the order of a Python set, which changes from run to run; "
        "here they come in the order of the file",
        "fresh biases are zero, where UER draws them like weights",
        "facts that do not fit are left out whole (mm_kptm.knowledge.injection.sentence_tree.spare_trunk); the "
        "released code cuts the sentence's end instead (cut)",
    ),
)
