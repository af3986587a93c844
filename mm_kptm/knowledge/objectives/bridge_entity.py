"""Bridge entity prediction: the pooled state of a question over two hops also names the entity between them.

Shapes: B examples, D dim, E entities.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mm_kptm.batch import POOLED_ONLY, Encoded, Inputs, Movable
from mm_kptm.errors import UserError
from mm_kptm.models.single import SingleStream
from mm_kptm.nn.init import bert_init
from mm_kptm.objectives.spec import TEXTS, ObjectiveContext, ObjectiveSpec
from mm_kptm.systems.recipe import Addition
from mm_kptm.systems.system import System

PAPER = "Yang et al. 2018, HotpotQA: A Dataset for Diverse, Explainable Multi-hop Question Answering, EMNLP, section 2"
BRIDGE_ENTITIES = "the entity between the two hops of a question"


@dataclass(frozen=True, eq=False)
class Bridges(Movable):
    """Questions as they are, with the index of the entity between their hops."""

    inputs: Inputs
    entities: Tensor  #: -1 for questions of one hop, [B]

    def __len__(self) -> int:
        return len(self.inputs)


class BridgeEntity:
    """Cross-entropy of the entity between the two hops of a question, with a head on the pooled state.

    "Who owns the red number?" is answered by way of the number that is red. A loss on answers alone rewards that hop
    only once the second one has been learnt, so encoders that start to read facts first tend to lose it; this one
    rewards it from the first step. It is supervision of the first hop and says nothing about answers. Beside a task
    that computes the pooled state of the same inputs it costs no further pass.

    Args:
        num_entities: classes of the head.
    """

    name = "bridge-entity"

    def __init__(self, num_entities: int) -> None:
        self.sizes = {"num_entities": num_entities}

    def prepare(self, inputs: Inputs, generator: torch.Generator | None = None) -> Bridges:
        """The inputs as they are; nothing is drawn.

        Raises:
            UserError: the inputs have no such labels.
        """
        if self.name not in inputs.labels:
            raise UserError(f"{self.name} predicts {BRIDGE_ENTITIES}, which these inputs do not name")
        return Bridges(inputs, inputs.labels[self.name])

    def pooled_losses(self, system: System, batch: Bridges, pooled: Tensor) -> Tensor:
        """The cross-entropy of every example from the pooled states [B, D]; 0 for those of one hop, [B]."""
        scores: Tensor = system.head(self.name)(pooled)
        return F.cross_entropy(scores, batch.entities, ignore_index=-1, reduction="none")

    def pooled_loss(self, system: System, batch: Bridges, pooled: Tensor) -> Tensor:
        """The mean over questions of two hops; 0 without any."""
        return self.pooled_losses(system, batch, pooled).sum() / (batch.entities >= 0).sum().clamp(min=1)

    def loss(self, system: System, batch: Bridges) -> Tensor:
        """As :meth:`pooled_loss`, with a pass of its own."""
        encoded: Encoded = system(batch.inputs, POOLED_ONLY)
        return self.pooled_loss(system, batch, encoded.pooled)

    def measure(self, system: System, batch: Bridges) -> Tensor:
        """The loss of each example, [B]."""
        encoded: Encoded = system(batch.inputs, POOLED_ONLY)
        return self.pooled_losses(system, batch, encoded.pooled)


def entity_scores(encoder: SingleStream, *, num_entities: int) -> nn.Linear:
    """One score per entity from the pooled state."""
    head = nn.Linear(encoder.dim, num_entities)
    bert_init(head)
    return head


def _from_context(context: ObjectiveContext) -> BridgeEntity:
    return BridgeEntity(context.offered(BRIDGE_ENTITIES))


ENTITY_HEAD = Addition(BridgeEntity.name, PAPER, heads={BridgeEntity.name: entity_scores})
BRIDGE_ENTITY = ObjectiveSpec(BridgeEntity.name, PAPER, _from_context, needs=(TEXTS, BRIDGE_ENTITIES))
