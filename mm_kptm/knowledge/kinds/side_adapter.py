"""K-Adapter's side adapter as a knowledge kind: adapters learn to complete facts that no example shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from mm_kptm.adaptation.layer_stack import dropout_of, in_layer_stack, state_stack
from mm_kptm.adaptation.side_adapter import adapt, published_depths
from mm_kptm.knowledge.kinds.protocol import LEARNT_FACTS, OPEN_FACTS, DataSizes, KnowledgeKind
from mm_kptm.knowledge.objectives.fact_completion import FactCompletion
from mm_kptm.knowledge.recipes.k_adapter import K_ADAPTER
from mm_kptm.models.single import SingleStream
from mm_kptm.nn.init import bert_init
from mm_kptm.systems.recipe import Addition

SET = "factual"  #: name of the adapter set


def object_scores(encoder: SingleStream, *, num_objects: int) -> nn.Linear:
    """One score per object from the hidden state of the masked object."""
    head = nn.Linear(encoder.dim, num_objects)
    bert_init(head)
    return head


def adapter_sizes(stack: SingleStream, data: DataSizes) -> Mapping[str, Any]:
    """One set of adapters at the published relative depths, as wide as the entity vectors of the data."""
    width, depths = data.entity_dim, list(published_depths(len(stack.layers)))
    sizes = {"sets": [SET], "depths": depths, "width": width, "num_heads": 4, "ffn_dim": 4 * width}
    return {**sizes, "dropout": dropout_of(stack)}


ADAPTER = Addition(
    "side-adapter", K_ADAPTER.paper, in_layer_stack(adapt, state_stack), heads={FactCompletion.name: object_scores}
)

SIDE_ADAPTER = KnowledgeKind(
    name=ADAPTER.name,
    paper=ADAPTER.paper,
    form=OPEN_FACTS,
    addition=ADAPTER,
    host=state_stack,
    host_requirement="shows the states of its text layer by layer",
    sizes=adapter_sizes,
    facts=LEARNT_FACTS,
)
