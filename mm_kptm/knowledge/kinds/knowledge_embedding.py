"""KEPLER's way: the encoder itself learns to tell triples from false ones by their descriptions."""

from __future__ import annotations

from typing import cast

from torch import nn

from mm_kptm.knowledge.embedding.transe import TransEScore
from mm_kptm.knowledge.kinds.protocol import DESCRIBED_TRIPLES, LEARNT_FACTS, KnowledgeKind
from mm_kptm.knowledge.objectives.knowledge_embedding import KnowledgeEmbedding
from mm_kptm.knowledge.recipes.kepler import KEPLER
from mm_kptm.systems.recipe import Addition


def translation(encoder: nn.Module, *, num_relations: int) -> TransEScore:
    """TransE over the first states of descriptions, as KEPLER's."""
    return TransEScore(cast(int, encoder.dim), num_relations)


EMBEDDING = Addition("knowledge-embedding", KEPLER.paper, heads={KnowledgeEmbedding.name: translation})

KNOWLEDGE_EMBEDDING = KnowledgeKind(
    name=EMBEDDING.name, paper=EMBEDDING.paper, form=DESCRIBED_TRIPLES, addition=EMBEDDING, facts=LEARNT_FACTS
)
