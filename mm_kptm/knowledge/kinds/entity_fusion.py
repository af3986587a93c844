"""ERNIE's entity fusion as a knowledge kind: upper layers mix every token with its linked entity's vector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from mm_kptm.adaptation.layer_stack import dropout_of, in_layer_stack
from mm_kptm.knowledge.fusion.entity_embedding import EntityVectors, WithVectors
from mm_kptm.knowledge.fusion.ernie import fuse, published_kinds
from mm_kptm.knowledge.kinds.protocol import ENTITIES, DataSizes, KnowledgeKind
from mm_kptm.knowledge.recipes.ernie_thu import ERNIE_THU_BASE
from mm_kptm.models.single import SingleStream
from mm_kptm.systems.recipe import Addition


def with_vectors(encoder: nn.Module, num_entities: int, entity_dim: int) -> WithVectors:
    """Add a table of entity vectors to an encoder, zero at first and trainable, unlike ERNIE's."""
    return WithVectors(encoder, EntityVectors(torch.zeros(num_entities, entity_dim)))


def fusion_sizes(stack: SingleStream, data: DataSizes) -> Mapping[str, Any]:
    """Layer kinds in the published proportions, and the entity width of the data."""
    kinds = list(published_kinds(len(stack.layers)))
    return {"entity_dim": data.entity_dim, "kinds": kinds, "dropout": dropout_of(stack)}


FUSION = Addition("entity-fusion", ERNIE_THU_BASE.paper, in_layer_stack(fuse))
VECTORS = Addition("entity-vectors", ERNIE_THU_BASE.paper, with_vectors)

ENTITY_FUSION = KnowledgeKind(
    name=FUSION.name,
    paper=FUSION.paper,
    form=ENTITIES,
    addition=FUSION,
    native_stream="entities",
    sizes=fusion_sizes,
    vector_table=VECTORS,
)
