"""How facts reach encoders that were published without them, each addition by the name of its ``knowledge.kind``."""

from __future__ import annotations

import torch
from torch import nn

from mm_kptm.adaptation.side_adapter import adapt
from mm_kptm.knowledge.embedding.transe import TransEScore
from mm_kptm.knowledge.fusion.entity_embedding import EntityVectors, WithVectors
from mm_kptm.knowledge.fusion.ernie import fuse
from mm_kptm.knowledge.fusion.knowledge_bases import recontextualise
from mm_kptm.knowledge.objectives.fact_completion import FactCompletion
from mm_kptm.knowledge.objectives.knowledge_embedding import KnowledgeEmbedding
from mm_kptm.knowledge.recipes.ernie_thu import ERNIE_THU_BASE
from mm_kptm.knowledge.recipes.k_adapter import K_ADAPTER
from mm_kptm.knowledge.recipes.kepler import KEPLER
from mm_kptm.knowledge.recipes.knowbert import KNOWBERT_WIKI
from mm_kptm.models.single import SingleStream
from mm_kptm.nn.init import bert_init
from mm_kptm.systems.encoder import Encoder
from mm_kptm.systems.recipe import Addition


def with_vectors(encoder: nn.Module, num_entities: int, entity_dim: int) -> WithVectors:
    """A table of vectors for an encoder that reads entities, zero at first; they learn, where ERNIE's stay."""
    return WithVectors(encoder, EntityVectors(torch.zeros(num_entities, entity_dim)))


def object_scores(encoder: SingleStream, *, num_objects: int) -> nn.Linear:
    """One score per object on the state of the blank in its place."""
    head = nn.Linear(encoder.dim, num_objects)
    bert_init(head)
    return head


def translation(encoder: Encoder, *, num_relations: int) -> TransEScore:
    """TransE over the first states of descriptions, as KEPLER's."""
    return TransEScore(encoder.dim, num_relations)


FUSION = Addition("entity-fusion", ERNIE_THU_BASE.paper, fuse)
VECTORS = Addition("entity-vectors", ERNIE_THU_BASE.paper, with_vectors)
RECONTEXTUALISE = Addition("kar", KNOWBERT_WIKI.paper, recontextualise)
ADAPTER = Addition("side-adapter", K_ADAPTER.paper, adapt, heads={FactCompletion.name: object_scores})
EMBEDDING = Addition("knowledge-embedding", KEPLER.paper, heads={KnowledgeEmbedding.name: translation})
