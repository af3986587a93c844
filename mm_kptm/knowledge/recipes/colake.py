"""CoLAKE: RoBERTa over words, entities and relations of a word-knowledge graph."""

from collections import OrderedDict
from functools import partial

from torch import nn

from mm_kptm.knowledge.fusion.node_embedding import NodeEmbedding, TiedCandidates
from mm_kptm.models.single import SingleStream
from mm_kptm.nn.assembly import TextOnly
from mm_kptm.nn.heads import TiedVocabulary, Transform
from mm_kptm.nn.init import bert_init
from mm_kptm.nn.sublayers import bert_layer
from mm_kptm.nn.submodules import submodule
from mm_kptm.recipes.roberta import (
    HUGGING_FACE_HEAD_RULES,
    ROBERTA_FIELDS,
    ROBERTA_NOTES,
    hugging_face_rules,
    masked_tokens,
    norm_of,
)
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Rename, Rule, Same


def colake(
    *,
    dim: int = 768,
    num_heads: int = 12,
    num_layers: int = 12,
    ffn_dim: int = 3072,
    vocab_size: int = 50265,
    num_entities: int = 3,
    num_relations: int = 822,
    max_positions: int = 514,
    activation: str = "gelu",
    norm_eps: float = 1e-5,
    dropout: float = 0.1,
) -> SingleStream:
    """Encoder of Sun et al. (2020, section 3.2); the defaults are the released model's.

    RoBERTa-base over :mod:`graphs <mm_kptm.knowledge.injection.word_graph>`: each kind of node has its own embedding
    table, soft positions start at 0, and the attention mask comes with the nodes. The published entity table has 3
    million rows in a separate file; by default there are only the special entities. The pooled state is the first one.
    """
    norm = partial(nn.LayerNorm, eps=norm_eps)
    nodes = NodeEmbedding(
        vocab_size,
        dim,
        num_entities=num_entities,
        num_relations=num_relations,
        max_positions=max_positions,
        norm=norm(dim),
        dropout=dropout,
    )
    layers = (
        bert_layer(dim, num_heads, ffn_dim=ffn_dim, activation=activation, dropout=dropout, norm=norm)
        for _ in range(num_layers)
    )
    encoder = SingleStream(TextOnly(nodes), layers, nn.Identity(), dim=dim)
    bert_init(encoder)
    return encoder


def _transform(encoder: SingleStream) -> Transform:
    transform = Transform(encoder.dim, norm=norm_of(encoder))
    bert_init(transform)
    return transform


def masked_entities(encoder: SingleStream) -> TiedCandidates:
    """Output layer over candidate entities: dense, GELU, norm, tied vectors (Sun et al. 2020, section 3.3)."""
    return TiedCandidates(_transform(encoder), submodule(encoder, "embed.text.entity", nn.Embedding))


def masked_relations(encoder: SingleStream) -> TiedVocabulary:
    """Output layer over all relations: dense, GELU, norm, tied vectors and a bias (Sun et al. 2020, section 3.3)."""
    return TiedVocabulary(_transform(encoder), submodule(encoder, "embed.text.relation", nn.Embedding))


def graph_classes(encoder: SingleStream, *, num_classes: int = 2, dropout: float = 0.3) -> nn.Sequential:
    """Classifier on the first hidden state: dense, GELU, norm, linear (Sun et al. 2020, released code).

    :func:`~mm_kptm.knowledge.fusion.node_embedding.start_from` initialises it from a pretraining head.
    """
    parts: list[tuple[str, nn.Module]] = [
        ("dense", nn.Linear(encoder.dim, encoder.dim)),
        ("activation", nn.GELU()),
        ("drop", nn.Dropout(dropout)),
        ("norm", norm_of(encoder)(encoder.dim)),
        ("out", nn.Linear(encoder.dim, num_classes)),
    ]
    head = nn.Sequential(OrderedDict(parts))
    bert_init(head)
    return head


def _classes(theirs: str, ours: str) -> tuple[Rule, ...]:
    return (
        Rename(f"{theirs}.dense.{{leaf}}", f"heads.{ours}.dense.{{leaf}}"),
        Rename(f"{theirs}.layer_norm.{{leaf}}", f"heads.{ours}.norm.{{leaf}}"),
        Rename(f"{theirs}.decoder.weight", f"heads.{ours}.out.weight"),
        Rename(f"{theirs}.bias", f"heads.{ours}.out.bias"),
        Same(f"{theirs}.decoder.bias", as_=f"{theirs}.bias"),
    )


_NODES = "encoder.embed.text"

COLAKE = Recipe(
    name="colake-base",
    family="colake",
    paper="Sun et al. 2020, CoLAKE: Contextualized Language and Knowledge Embedding, COLING, arXiv:2010.00309",
    build=colake,
    reads=frozenset({"text"}),
    heads={
        "masked-tokens": masked_tokens,
        "masked-entities": masked_entities,
        "masked-relations": masked_relations,
        "relation": graph_classes,
        "entity-typing": graph_classes,
    },
    objectives=("masked-nodes",),
    pretraining_heads=("masked-tokens", "masked-entities", "masked-relations"),
    weights=(
        *hugging_face_rules("roberta.", "encoder"),
        *HUGGING_FACE_HEAD_RULES,
        Rename("entities", f"{_NODES}.entity.weight"),
        Rename("ent_embeddings_n.weight", f"{_NODES}.entity.weight"),
        Rename("ent_lm_head.dense.{leaf}", "heads.masked-entities.transform.dense.{leaf}"),
        Rename("ent_lm_head.layer_norm.{leaf}", "heads.masked-entities.transform.norm.{leaf}"),
        Rename("rel_embeddings.weight", f"{_NODES}.relation.weight"),
        Rename("rel_lm_head.bias", "heads.masked-relations.bias"),
        Rename("rel_lm_head.dense.{leaf}", "heads.masked-relations.transform.dense.{leaf}"),
        Rename("rel_lm_head.layer_norm.{leaf}", "heads.masked-relations.transform.norm.{leaf}"),
        Same("rel_lm_head.decoder.weight", as_="rel_embeddings.weight"),
        Same("rel_lm_head.decoder.bias", as_="rel_lm_head.bias"),
        *_classes("rel_head", "relation"),
        *_classes("cls_head", "entity-typing"),
    ),
    config_keys={name: size for name, size in ROBERTA_FIELDS.items() if size != "num_segments"},
    infer_from_shapes={
        "vocab_size": (f"{_NODES}.word.weight", 0),
        "max_positions": (f"{_NODES}.position.weight", 0),
        "num_entities": (f"{_NODES}.entity.weight", 0),
        "num_relations": (f"{_NODES}.relation.weight", 0),
    },
    notes=(
        *ROBERTA_NOTES,
        "positions count from 0, where RoBERTa's begin at 2",
        "entities are a file of their own: load the system from {'': 'model.bin', 'entities': 'entities.npy'}",
        "a kind of which a batch hides no node adds nothing to the loss, which is NaN in the released code",
        "masks are drawn anew for every batch; the released code draws the same ones for graphs of the same size "
        "(mm_kptm.knowledge.objectives.masked_nodes.hide_nodes)",
        "the row of padding among relations, and of position 1, is trained like any other; the released code leaves "
        "both as they are, and no real node reads the former",
    ),
)
