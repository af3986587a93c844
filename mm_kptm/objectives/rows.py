"""Objectives on rows: row targets, mean loss over a batch, and mean loss per example.

Shapes: P rows with a target, B examples.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from torch import Tensor

from mm_kptm.batch import Inputs, Movable
from mm_kptm.systems.system import System


class RowBatch(Protocol):
    """Batch with one loss per row; each row belongs to an example."""

    @property
    def sequence_ids(self) -> Tensor:
        """Example of every row, [P]."""

    def __len__(self) -> int:
        """Number of examples, B."""


BatchT = TypeVar("BatchT", bound=RowBatch)


@dataclass(frozen=True, eq=False)
class RowTargets(Movable):
    """Inputs, corrupted or not, the rows with a target, and the gold label of each."""

    inputs: Inputs
    rows: Tensor  #: [P]
    labels: Tensor  #: [P]
    sequence_ids: Tensor  #: example of each row, [P]

    def __len__(self) -> int:
        return len(self.inputs)


class RowObjective(ABC, Generic[BatchT]):
    """Objective with one loss per row, averaged over the rows of a batch, or of each example."""

    @abstractmethod
    def losses(self, system: System, batch: BatchT) -> Tensor:
        """The loss of every row with a target, [P]."""

    def loss(self, system: System, batch: BatchT) -> Tensor:
        """The mean over all rows of the batch, a scalar."""
        return mean(self.losses(system, batch))

    def measure(self, system: System, batch: BatchT) -> Tensor:
        """The mean over the rows of each example, [B]; the batch mean where an example has none."""
        return mean_of_each(self.losses(system, batch), batch.sequence_ids, len(batch))


def mean(losses: Tensor) -> Tensor:
    """The mean; zero, still connected to the graph, when there is nothing to average."""
    return losses.mean() if len(losses) else losses.sum()


def mean_of_each(losses: Tensor, sequence_ids: Tensor, count: int) -> Tensor:
    """The mean loss of each example, [count]; the mean of all where an example has none."""
    sums = losses.new_zeros(count).index_add(0, sequence_ids, losses)
    counts = losses.new_zeros(count).index_add(0, sequence_ids, losses.new_ones(len(losses)))
    return (sums / counts.clamp(min=1)).where(counts > 0, mean(losses))
