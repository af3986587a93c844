"""KEPLER's knowledge embedding as a knowledge kind: the encoder embeds entity descriptions and scores triples."""

from __future__ import annotations

from typing import cast

from torch import nn

from mm_kptm.knowledge.embedding.transe import TransEScore
from mm_kptm.knowledge.kinds.protocol import DESCRIBED_TRIPLES, LEARNT_FACTS, KnowledgeKind
from mm_kptm.knowledge.objectives.knowledge_embedding import KnowledgeEmbedding
from mm_kptm.knowledge.recipes.kepler import KEPLER
from mm_kptm.systems.recipe import Addition


def translation(encoder: nn.Module, *, num_relations: int) -> TransEScore:
    """TransE over the first hidden states of descriptions, as in KEPLER."""
    return TransEScore(cast(int, encoder.dim), num_relations)


EMBEDDING = Addition("knowledge-embedding", KEPLER.paper, heads={KnowledgeEmbedding.name: translation})

KNOWLEDGE_EMBEDDING = KnowledgeKind(
    name=EMBEDDING.name, paper=EMBEDDING.paper, form=DESCRIBED_TRIPLES, addition=EMBEDDING, facts=LEARNT_FACTS
)
