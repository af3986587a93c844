"""Pretraining: the batches of a source prepared for objectives, all at once, by themselves or in stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from mm_kptm.batch import Inputs
from mm_kptm.objectives.continual import ContinualSchedule
from mm_kptm.objectives.mixture import MixtureBatch, Objective, required_heads
from mm_kptm.train.protocol import Source


class BatchPreparer(Protocol):
    """Prepares a batch for a mixture, or for one of its objectives."""

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> MixtureBatch:
        """What every objective is computed on."""

    def only(self, name: str) -> BatchPreparer:
        """What prepares batches for one objective."""


@dataclass(frozen=True)
class ObjectiveSource:
    """The examples of ``inputs`` prepared for ``mixture``; what is masked is drawn from the batch's generator."""

    inputs: Source[Inputs]
    mixture: BatchPreparer

    def __len__(self) -> int:
        return len(self.inputs)

    def length(self, index: int) -> int:
        """As that of the inputs."""
        return self.inputs.length(index)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> MixtureBatch:
        """The given examples, prepared."""
        return self.mixture.prepare(self.inputs.batch(indices, generator), generator)

    def only(self, name: str) -> ObjectiveSource:
        """The same examples for one objective alone."""
        return ObjectiveSource(self.inputs, self.mixture.only(name))


@dataclass(frozen=True)
class SourcesOfObjectives:
    """Every objective with inputs of its own; where it has fewer of them than another, they begin anew.

    Args:
        inputs: by objective.
        objectives: by name, as many.
    """

    inputs: Mapping[str, Source[Inputs]]
    objectives: Mapping[str, Objective]

    def __len__(self) -> int:
        return max(map(len, self.inputs.values()))

    def length(self, index: int) -> int:
        """Of the longest of its inputs."""
        return max(inputs.length(index % len(inputs)) for inputs in self.inputs.values())

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> MixtureBatch:
        """A batch of every objective, drawn in the order of their names."""
        made = {}
        for name in sorted(self.objectives):
            inputs = self.inputs[name]
            given = inputs.batch([index % len(inputs) for index in indices], generator)
            made[name] = self.objectives[name].prepare(given, generator)
        return MixtureBatch(made, len(indices))

    def only(self, name: str) -> SourcesOfObjectives:
        """The examples of one objective alone, as many as of all."""
        inputs = Repeated(self.inputs[name], len(self))
        return SourcesOfObjectives({name: inputs}, {name: self.objectives[name]})


@dataclass(frozen=True)
class Repeated:
    """Inputs that begin anew until there are ``count``."""

    inputs: Source[Inputs]
    count: int

    def __len__(self) -> int:
        return self.count

    def length(self, index: int) -> int:
        """As that of the inputs."""
        return self.inputs.length(index % len(self.inputs))

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Inputs:
        """The given examples."""
        return self.inputs.batch([index % len(self.inputs) for index in indices], generator)


@dataclass(frozen=True)
class Staged:
    """Batches of one objective a step, as a schedule has it; of all of them where no step is named."""

    source: ObjectiveSource | SourcesOfObjectives
    schedule: ContinualSchedule

    def __len__(self) -> int:
        return len(self.source)

    def length(self, index: int) -> int:
        """As that of the source."""
        return self.source.length(index)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> MixtureBatch:
        """The batches of all objectives."""
        return self.source.batch(indices, generator)

    def at(self, step: int) -> ObjectiveSource | SourcesOfObjectives:
        """The source of the objective that is trained at a step."""
        return self.source.only(self.schedule.objective(step))


def heads_of(objectives: Mapping[str, Objective]) -> dict[str, dict[str, Any]]:
    """The heads that a system needs for some objectives, with the sizes that these name."""
    heads: dict[str, dict[str, Any]] = {}
    for objective in objectives.values():
        for head, sizes in required_heads(objective).items():
            heads[head] = {**heads.get(head, {}), **sizes}
    return heads
