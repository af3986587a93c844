"""Pretraining: batches of a source prepared for objectives, jointly, separately or in stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from mm_kptm.batch import Inputs
from mm_kptm.objectives.mixture import MixtureBatch, Objective, required_heads
from mm_kptm.train.protocol import Source, lengths_of


class BatchPreparer(Protocol):
    """Preparation of batches for a mixture, or for one of its objectives."""

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> MixtureBatch:
        """The prepared batch of every objective."""

    def only(self, name: str) -> BatchPreparer:
        """The preparation for one objective alone."""


@dataclass(frozen=True)
class ObjectiveSource:
    """The examples of ``inputs`` prepared for ``mixture``; masks are drawn from the batch's generator."""

    inputs: Source[Inputs]
    mixture: BatchPreparer

    def __len__(self) -> int:
        return len(self.inputs)

    def length(self, index: int) -> int:
        """Length of the inputs."""
        return self.inputs.length(index)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Length of every input."""
        return lengths_of(self.inputs)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> MixtureBatch:
        """The prepared batch of the given indices."""
        return self.mixture.prepare(self.inputs.batch(indices, generator), generator)

    def only(self, name: str) -> ObjectiveSource:
        """The same examples for one objective alone."""
        return ObjectiveSource(self.inputs, self.mixture.only(name))


@dataclass(frozen=True)
class SourcesOfObjectives:
    """A source of inputs per objective; shorter ones are repeated.

    Args:
        inputs: source of inputs of every objective.
        objectives: the same objectives by name.
    """

    inputs: Mapping[str, Source[Inputs]]
    objectives: Mapping[str, Objective]

    def __len__(self) -> int:
        return max(map(len, self.inputs.values()))

    def length(self, index: int) -> int:
        """Length of the longest of its inputs."""
        return max(inputs.length(index % len(inputs)) for inputs in self.inputs.values())

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Length of the longest of the inputs of every example."""
        return np.maximum.reduce([np.resize(lengths_of(inputs), len(self)) for inputs in self.inputs.values()])

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> MixtureBatch:
        """A batch of every objective, drawn in the order of their names."""
        batches = {}
        for name in sorted(self.objectives):
            inputs = self.inputs[name]
            given = inputs.batch([index % len(inputs) for index in indices], generator)
            batches[name] = self.objectives[name].prepare(given, generator)
        return MixtureBatch(batches, len(indices))

    def only(self, name: str) -> SourcesOfObjectives:
        """The source of one objective, repeated to the length of the longest."""
        inputs = Repeated(self.inputs[name], len(self))
        return SourcesOfObjectives({name: inputs}, {name: self.objectives[name]})


@dataclass(frozen=True)
class Repeated:
    """Inputs repeated up to ``count`` examples."""

    inputs: Source[Inputs]
    count: int

    def __len__(self) -> int:
        return self.count

    def length(self, index: int) -> int:
        """Length of the inputs."""
        return self.inputs.length(index % len(self.inputs))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Length of the inputs of every example."""
        return np.resize(lengths_of(self.inputs), self.count)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Inputs:
        """The inputs of the given indices, modulo their number."""
        return self.inputs.batch([index % len(self.inputs) for index in indices], generator)


class ObjectiveSchedule(Protocol):
    """Objective of each step."""

    def objective(self, step: int) -> str:
        """Name of the objective trained at a step; steps count from 1."""

    def factor(self, name: str) -> float:
        """Factor of its weighted loss."""


@dataclass(frozen=True)
class OneAStep:
    """Batches of one objective per step by a schedule; of all objectives without a step."""

    source: ObjectiveSource | SourcesOfObjectives
    schedule: ObjectiveSchedule

    def __len__(self) -> int:
        return len(self.source)

    def length(self, index: int) -> int:
        """Length in the source."""
        return self.source.length(index)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Length of every example in the source."""
        return lengths_of(self.source)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> MixtureBatch:
        """The batches of all objectives."""
        return self.source.batch(indices, generator)

    def at(self, step: int) -> Source[MixtureBatch]:
        """The source of the objective trained at a step."""
        name = self.schedule.objective(step)
        only = self.source.only(name)
        return only if (factor := self.schedule.factor(name)) == 1 else Scaled(only, factor)


@dataclass(frozen=True)
class Scaled:
    """A source whose losses have a factor."""

    source: Source[MixtureBatch]
    factor: float

    def __len__(self) -> int:
        return len(self.source)

    def length(self, index: int) -> int:
        """Length in the source."""
        return self.source.length(index)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Length of every example in the source."""
        return lengths_of(self.source)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> MixtureBatch:
        """The batch of the source with the factor."""
        return replace(self.source.batch(indices, generator), factor=self.factor)


def heads_of(objectives: Mapping[str, Objective]) -> dict[str, dict[str, Any]]:
    """The heads, with sizes, that a system needs for the objectives."""
    heads: dict[str, dict[str, Any]] = {}
    for objective in objectives.values():
        for head, sizes in required_heads(objective).items():
            heads[head] = {**heads.get(head, {}), **sizes}
    return heads
