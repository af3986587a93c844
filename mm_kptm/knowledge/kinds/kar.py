"""KnowBERT's recontextualisation as a knowledge kind: between two layers words attend to linked mentions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mm_kptm.adaptation.layer_stack import dropout_of, in_layer_stack
from mm_kptm.knowledge.fusion.knowledge_bases import recontextualise
from mm_kptm.knowledge.kinds.protocol import CANDIDATES, DataSizes, KnowledgeKind
from mm_kptm.knowledge.recipes.knowbert import KNOWBERT_WIKI
from mm_kptm.models.single import SingleStream
from mm_kptm.systems.recipe import Addition


def kar_sizes(stack: SingleStream, data: DataSizes) -> Mapping[str, Any]:
    """One small recontextualiser per knowledge base of the data."""
    base = {
        "layer": (len(stack.layers) - 1) // 2,  # in the middle, so that later layers can use what it adds
        "num_entities": 4,  # the candidates bring their vectors
        "entity_dim": data.entity_dim,
        "null": "none",
        "decision": "softmax",
        "span_ffn_dim": 4 * data.entity_dim,
        "read_ffn_dim": 4 * data.entity_dim,
    }
    return {"bases": dict.fromkeys(data.knowledge_bases, base), "dropout": dropout_of(stack)}


RECONTEXTUALISE = Addition("kar", KNOWBERT_WIKI.paper, in_layer_stack(recontextualise))

KAR = KnowledgeKind(
    name=RECONTEXTUALISE.name,
    paper=RECONTEXTUALISE.paper,
    form=CANDIDATES,
    addition=RECONTEXTUALISE,
    sizes=kar_sizes,
)
