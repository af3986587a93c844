"""Continual multi-task pretraining: objectives are introduced in stages while earlier ones continue.

Sun et al. (2020, ERNIE 2.0, section 3.2): training on tasks one after the other forgets the first ones, and multi-task
training needs all of them at the start. Sequential multi-task learning gives every task the same number of steps,
spread over the stages from the one that introduces it to the last.

Shapes: B examples, T token rows.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from mm_kptm.batch import Inputs
from mm_kptm.errors import UserError
from mm_kptm.objectives.mixture import Objective, required_heads
from mm_kptm.systems.system import System

#: The steps of every task in four stages, 50,000 each (Sun et al. 2020, table of training strategies, as recalled).
SEQUENTIAL_MULTI_TASK: Mapping[str, tuple[int, ...]] = {
    "masked-tokens": (20_000, 10_000, 10_000, 10_000),
    "capitalization": (0, 30_000, 10_000, 10_000),
    "document-words": (0, 0, 40_000, 10_000),
    "sentence-reordering": (0, 0, 0, 50_000),
}


@dataclass(frozen=True)
class ContinualSchedule:
    """Schedule of the objective trained at each step.

    Within a stage the steps of its objectives are interleaved evenly and deterministically, so that a resumed run
    continues exactly.

    >>> schedule = ContinualSchedule({"old": (2, 1), "new": (0, 3)})
    >>> [schedule.objective(step) for step in range(1, 7)]
    ['old', 'old', 'new', 'old', 'new', 'new']

    Args:
        stages: number of steps of every objective in each stage.

    Raises:
        UserError: there is no step, a number of steps is negative, or objectives differ in their number of stages.
    """

    stages: Mapping[str, Sequence[int]]

    def __post_init__(self) -> None:
        counts = {name: len(steps) for name, steps in self.stages.items()}
        if len(set(counts.values())) > 1:
            listing = ", ".join(f"{name} has {count}" for name, count in counts.items())
            raise UserError(
                f"every objective needs its steps in each stage, but they differ in their stages: {listing}"
            )
        for name, steps in self.stages.items():
            if min(steps, default=0) < 0:
                raise UserError(f"stages.{name} is {list(steps)}, but no stage has fewer than 0 steps")
        for stage, length in enumerate(self.lengths):
            if not length:
                raise UserError(f"stage {stage + 1} has no step of any objective; leave it out")
        if not self.lengths:
            raise UserError("a schedule needs at least one stage with the steps of an objective")

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """The steps of every stage."""
        return tuple(sum(steps) for steps in zip(*self.stages.values(), strict=True))

    @property
    def steps(self) -> int:
        """Number of steps of all stages."""
        return sum(self.lengths)

    def stage(self, step: int) -> int:
        """Index of the stage of a step; stages count from 0, steps from 1.

        Raises:
            UserError: there is no such step.
        """
        if not 1 <= step <= self.steps:
            raise UserError(f"step {step} was asked for, but the stages have the steps 1 to {self.steps}")
        return bisect_right(list(accumulate(self.lengths)), step - 1)

    def shares(self, step: int) -> dict[str, float]:
        """The share of each objective in the steps of the stage, objectives without steps left out."""
        stage = self.stage(step)
        return {name: steps[stage] / self.lengths[stage] for name, steps in self.stages.items() if steps[stage]}

    def objective(self, step: int) -> str:
        """Name of the objective trained at a step; steps count from 1."""
        stage = self.stage(step)
        return self._orders[stage][step - 1 - sum(self.lengths[:stage])]

    def factor(self, name: str) -> float:
        """Factor of the weighted loss of an objective: its weight counts beside its steps."""
        return 1.0

    @cached_property
    def _orders(self) -> tuple[tuple[str, ...], ...]:
        """The order of objectives in every stage, each evenly spaced."""
        orders = []
        for stage in range(len(self.lengths)):
            counts = {name: steps[stage] for name, steps in self.stages.items()}
            due = [((turn + 0.5) / count, name) for name, count in counts.items() for turn in range(count)]
            orders.append(tuple(name for _, name in sorted(due, key=lambda one: one[0])))
        return tuple(orders)


class ForTask:
    """An objective with a task embedding: its texts carry the task id (ERNIE 2.0, section 4.1).

    Args:
        objective: prepares the batches.
        task: its row in the task embedding.
    """

    def __init__(self, objective: Objective, task: int) -> None:
        self.objective = objective
        self.task = task
        self.head_sizes = required_heads(objective)
        self.heads = tuple(self.head_sizes)

    @property
    def name(self) -> str:
        """As that of the wrapped objective."""
        return self.objective.name

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> Any:
        """A batch of the objective; every row of the text carries the task id."""
        if inputs.text is not None:
            tasks = torch.full_like(inputs.text.ids, self.task)
            inputs = inputs.with_streams(text=replace(inputs.text, tasks=tasks))
        return self.objective.prepare(inputs, generator)

    def loss(self, system: System, batch: Any) -> Tensor:
        """As that of the wrapped objective."""
        return self.objective.loss(system, batch)

    def measure(self, system: System, batch: Any) -> Tensor:
        """As that of the wrapped objective, [B]."""
        return self.objective.measure(system, batch)
