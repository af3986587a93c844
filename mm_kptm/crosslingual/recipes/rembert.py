"""RemBERT: BERT with decoupled input and output embeddings."""

from collections.abc import Mapping
from functools import partial
from typing import Any, cast

from torch import Tensor, nn

from mm_kptm.batch import Tokens
from mm_kptm.models.single import SingleStream
from mm_kptm.nn.assembly import TextOnly
from mm_kptm.nn.attention import set_attention_dropout
from mm_kptm.nn.embeddings import TextEmbedding
from mm_kptm.nn.heads import Pooler, Transform
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
from mm_kptm.systems.published_fields import check_fields
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Drop, OneOf, Rename
from mm_kptm.systems.transformers_form import REMBERT_FORM


class ProjectedEmbedding(nn.Module):
    """Text embeddings of a smaller width, projected to the model dim (Chung et al. 2021, section 5).

    Shapes: T rows, E input width, D dim.
    """

    def __init__(self, embedding: TextEmbedding, input_dim: int, dim: int) -> None:
        super().__init__()
        self.embedding = embedding
        self.projection = nn.Linear(input_dim, dim)

    @property
    def word(self) -> nn.Embedding:
        """The word table, [V, E]."""
        return self.embedding.word

    def forward(self, tokens: Tokens) -> Tensor:
        """The embedding of every token, [T, D]; ``tokens.vectors`` [T, E] replace the word embeddings."""
        return self.projection(self.embedding(tokens))


def rembert(
    *,
    dim: int = 1152,
    num_heads: int = 18,
    num_layers: int = 32,
    ffn_dim: int = 4608,
    input_dim: int = 256,
    output_dim: int = 1664,
    vocab_size: int = 250300,
    max_positions: int = 512,
    num_segments: int = 2,
    activation: str = "gelu",
    norm_eps: float = 1e-12,
    dropout: float = 0.0,
    attention_dropout: float | None = None,
    pooled: bool = True,
) -> SingleStream:
    """The encoder of Chung et al. (2021, section 5); the defaults are the published model.

    Word, position and segment tables and their norm are ``input_dim`` wide; ``output_dim`` is the width of the
    masked-token head's output embedding. ``attention_dropout`` defaults to ``dropout``. Files of the masked-token
    model have no pooler; the pooled state is then the first state.
    """
    norm = partial(nn.LayerNorm, eps=norm_eps)
    embedding = TextEmbedding(
        vocab_size,
        input_dim,
        max_positions=max_positions,
        num_segments=num_segments,
        norm=norm(input_dim),
        dropout=dropout,
    )
    layers = (
        bert_layer(dim, num_heads, ffn_dim=ffn_dim, activation=activation, dropout=dropout, norm=norm)
        for _ in range(num_layers)
    )
    pooler = Pooler(dim) if pooled else nn.Identity()
    encoder = SingleStream(TextOnly(ProjectedEmbedding(embedding, input_dim, dim)), layers, pooler, dim=dim)
    encoder.output_dim = output_dim  # type: ignore[assignment]  # a number beside modules
    if attention_dropout is not None:
        set_attention_dropout(encoder, attention_dropout)
    bert_init(encoder)
    return encoder


def masked_tokens(encoder: SingleStream) -> nn.Sequential:
    """Dense to the output width, the encoder's activation, norm, and a separate output matrix (section 5)."""
    width = cast(int, encoder.output_dim)
    word = submodule(encoder, "embed.text.word", nn.Embedding)
    transform = Transform(encoder.dim, width, activation=activation_of(encoder), norm=norm_of(encoder))
    head = nn.Sequential(transform, nn.Linear(width, word.num_embeddings))
    bert_init(head)
    return head


def classes(encoder: SingleStream, *, num_classes: int = 3, dropout: float = 0.1) -> nn.Sequential:
    """A linear layer on the pooled state of a text or a pair of texts."""
    return nn.Sequential(nn.Dropout(dropout), nn.Linear(encoder.dim, num_classes))


#: Supported values of configuration fields.
_BUILT = {
    "position_embedding_type": ("absolute",),
    "is_decoder": (False,),
    "add_cross_attention": (False,),
    "tie_word_embeddings": (False,),
}
_FIELDS = {
    **BERT_FIELDS,
    "input_embedding_size": "input_dim",
    "output_embedding_size": "output_dim",
    "attention_probs_dropout_prob": "attention_dropout",
}


def read_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Check the configuration; it has no further sizes.

    Raises:
        UserError: the configuration has an unsupported value.
    """
    check_fields("rembert", config, _BUILT)
    return {}


def infer_sizes(tensors: Mapping[str, Tensor], sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Whether a checkpoint has a pooler."""
    return {"pooled": "encoder.pooler.dense.weight" in tensors}


REMBERT = Recipe(
    name="rembert",
    family="rembert",
    paper="Chung et al. 2021, Rethinking Embedding Coupling in Pre-trained Language Models, ICLR, arXiv:2010.12821",
    build=rembert,
    model_types=("rembert",),
    reads=frozenset({"text"}),
    heads={
        "masked-tokens": masked_tokens,
        "classifier": classes,
        "token-classifier": token_classes,
        "answer-spans": answer_spans,
    },
    objectives=("masked-tokens",),
    weights=(
        *embedding_rules("[rembert.]embeddings", "encoder.embed.text.embedding"),
        Drop("[rembert.]embeddings.position_ids", because="a buffer that counts from 0"),
        Rename("[rembert.]encoder.embedding_hidden_mapping_in.{leaf}", "encoder.embed.text.projection.{leaf}"),
        *layer_rules("[rembert.]encoder.layer.{i}", "encoder.layers.{i}"),
        Rename("[rembert.]pooler.dense.{leaf}", "encoder.pooler.dense.{leaf}"),
        Rename("cls.predictions.dense.{leaf}", "heads.masked-tokens.0.dense.{leaf}"),
        Rename("cls.predictions.LayerNorm.{leaf}", "heads.masked-tokens.0.norm.{leaf}"),
        Rename("cls.predictions.decoder.{leaf}", "heads.masked-tokens.1.{leaf}"),
        OneOf("classifier.{leaf}", ("heads.classifier.1.{leaf}", "heads.token-classifier.1.{leaf}")),
        Rename("qa_outputs.{leaf}", "heads.answer-spans.{leaf}"),
    ),
    config_keys=_FIELDS,
    fixed_fields={},  # read_config refuses by itself
    read_config=read_config,
    infer_from_shapes={
        "vocab_size": ("encoder.embed.text.embedding.word.weight", 0),
        "max_positions": ("encoder.embed.text.embedding.position.weight", 0),
        "num_segments": ("encoder.embed.text.embedding.segment.weight", 0),
        "input_dim": ("encoder.embed.text.embedding.word.weight", 1),
        "output_dim": ("heads.masked-tokens.1.weight", 1),
    },
    infer_sizes=infer_sizes,
    infer_heads=class_counts,
    transformers=REMBERT_FORM,
    notes=(
        "pretraining used no dropout",
        "a pair is [CLS] a [SEP] b [SEP] with segments, as BERT's",
    ),
)
