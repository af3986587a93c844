"""Tsinghua's ERNIE: BERT whose upper layers mix tokens with linked entity vectors."""

from collections.abc import Sequence

from torch import nn

from mm_kptm.knowledge.fusion.ernie import FusedStream, fuse
from mm_kptm.knowledge.objectives.entity_denoising import EntityScores
from mm_kptm.nn.init import bert_init
from mm_kptm.nn.sublayers import FeedForwardSublayer
from mm_kptm.nn.submodules import submodule
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
from mm_kptm.systems.rules import Rename


@takes_norm_eps
def ernie_thu(
    *,
    dim: int = 768,
    num_heads: int = 12,
    num_layers: int = 12,
    ffn_dim: int = 3072,
    vocab_size: int = 30522,
    max_positions: int = 512,
    num_segments: int = 2,
    activation: str = "gelu",
    dropout: float = 0.1,
    entity_dim: int = 100,
    entity_heads: int = 4,
    layer_types: Sequence[str] | None = None,
) -> FusedStream:
    """Encoder of Zhang et al. (2019, figure 2); the defaults are the released base model.

    ``layer_types`` names the kind of every layer (:data:`~mm_kptm.knowledge.fusion.ernie.KINDS`); by default five plain
    layers, one that mixes and six that attend and mix, in that proportion for other depths.
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
    return fuse(encoder, entity_dim=entity_dim, entity_heads=entity_heads, kinds=layer_types, dropout=dropout)


def entity_scores(encoder: FusedStream) -> EntityScores:
    """Output layer over the batch's entities on token states (Zhang et al. 2019, section 3.4)."""
    activation = submodule(encoder, "layers.0.ffn", FeedForwardSublayer).activation
    head = EntityScores(encoder.dim, encoder.entity_dim, activation=activation)
    bert_init(head)
    return head


def entity_types(encoder: FusedStream, *, num_classes: int = 2) -> nn.Linear:
    """One score per type on the pooled state, without bias; positive scores are predicted types (section 3.5)."""
    head = nn.Linear(encoder.dim, num_classes, bias=False)
    bert_init(head)
    return head


_LAYER, _FUSED = "bert.encoder.layer.{i}", "encoder.fusions.{i}"

ERNIE_THU_BASE = Recipe(
    name="ernie-thu-base",
    family="ernie_thu",
    paper="Zhang et al. 2019, ERNIE: Enhanced Language Representation with Informative Entities, ACL, arXiv:1905.07129",
    build=ernie_thu,
    model_types=("bert",),
    reads=frozenset({"text", "entities"}),
    heads={
        "masked-tokens": masked_tokens,
        "next-sentence": pair_classes,
        "entity-denoising": entity_scores,
        "entity-typing": entity_types,
        "relation": pair_classes,
    },
    objectives=("masked-tokens", "next-sentence", "entity-denoising"),
    weights=(
        *embedding_rules("bert.embeddings", "encoder.embed.text"),
        *layer_rules(_LAYER, "encoder.layers.{i}"),
        Rename(
            f"{_LAYER}.attention.self_ent.{{role}}.{{leaf}}", f"{_FUSED}.self_attention.attention.{{role}}.{{leaf}}"
        ),
        Rename(f"{_LAYER}.attention.output_ent.dense.{{leaf}}", f"{_FUSED}.self_attention.attention.out_proj.{{leaf}}"),
        Rename(f"{_LAYER}.attention.output_ent.LayerNorm.{{leaf}}", f"{_FUSED}.self_attention.norm.{{leaf}}"),
        Rename(f"{_LAYER}.intermediate.dense_ent.{{leaf}}", f"{_FUSED}.fuse.entity_in.{{leaf}}"),
        Rename(f"{_LAYER}.output.dense_ent.{{leaf}}", f"{_FUSED}.fuse.entity_out.{{leaf}}"),
        Rename(f"{_LAYER}.output.LayerNorm_ent.{{leaf}}", f"{_FUSED}.fuse.entity_norm.{{leaf}}"),
        Rename("bert.pooler.dense.{leaf}", "encoder.pooler.dense.{leaf}"),
        *vocabulary_rules("bert.embeddings.word_embeddings.weight"),
        Rename("cls.predictions_ent.transform.dense.{leaf}", "heads.entity-denoising.transform.dense.{leaf}"),
        Rename("cls.predictions_ent.transform.LayerNorm.{leaf}", "heads.entity-denoising.transform.norm.{leaf}"),
        Rename("cls.seq_relationship.{leaf}", "heads.next-sentence.{leaf}"),
        Rename("typing.{leaf}", "heads.entity-typing.{leaf}"),
        Rename("classifier.{leaf}", "heads.relation.{leaf}"),
    ),
    config_keys={**BERT_FIELDS, "layer_types": "layer_types"},
    infer_from_shapes={
        "vocab_size": ("encoder.embed.text.word.weight", 0),
        "max_positions": ("encoder.embed.text.position.weight", 0),
        "num_segments": ("encoder.embed.text.segment.weight", 0),
        "entity_dim": ("heads.entity-denoising.transform.dense.weight", 0),
    },
    notes=(
        "where no entity is linked the joint state keeps the bias of the entity projection, as in the released code",
        "entities are scored by dense, GELU and norm, where the paper has a linear layer",
        "the entity output of the last fused layer is unused; its parameters are loaded and frozen",
        "entity dropout equals the dropout of the states, as in the released configuration",
    ),
)
