"""Objectives that arrive one after the other while the old ones go on: continual multi-task pretraining.

Sun et al. (2020, ERNIE 2.0, section 3.2): learning tasks one after the other forgets the first ones, and learning all
of them at once needs all of them at the start. Sequential multi-task learning gives every task as many steps as either,
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
    """Which objective is trained at which step.

    Inside a stage the steps of its objectives are spread evenly among each other; nothing is drawn, so that a run that
    is resumed goes on exactly.

    >>> schedule = ContinualSchedule({"old": (2, 1), "new": (0, 3)})
    >>> [schedule.objective(step) for step in range(1, 7)]
    ['old', 'old', 'new', 'old', 'new', 'new']

    Args:
        stages: to every objective its steps in each stage.

    Raises:
        UserError: there is no step, a number of steps is negative, or objectives differ in their number of stages.
    """

    stages: Mapping[str, Sequence[int]]

    def __post_init__(self) -> None:
        counts = {name: len(steps) for name, steps in self.stages.items()}
        if len(set(counts.values())) > 1:
            told = ", ".join(f"{name} has {count}" for name, count in counts.items())
            raise UserError(f"every objective needs its steps in each stage, but they differ in their stages: {told}")
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
        """Of all stages."""
        return sum(self.lengths)

    def stage(self, step: int) -> int:
        """The number of the stage, from 0, that a step belongs to; steps count from 1.

        Raises:
            UserError: there is no such step.
        """
        if not 1 <= step <= self.steps:
            raise UserError(f"step {step} was asked for, but the stages have the steps 1 to {self.steps}")
        return bisect_right(list(accumulate(self.lengths)), step - 1)

    def shares(self, step: int) -> dict[str, float]:
        """The share of the steps of its stage that each objective has, those without any left out."""
        stage = self.stage(step)
        return {name: steps[stage] / self.lengths[stage] for name, steps in self.stages.items() if steps[stage]}

    def objective(self, step: int) -> str:
        """The one that is trained at a step; steps count from 1."""
        stage = self.stage(step)
        return self._orders[stage][step - 1 - sum(self.lengths[:stage])]

    @cached_property
    def _orders(self) -> tuple[tuple[str, ...], ...]:
        """The objectives of every stage, each at even distances from its last step."""
        orders = []
        for stage in range(len(self.lengths)):
            counts = {name: steps[stage] for name, steps in self.stages.items()}
            due = [((turn + 0.5) / count, name) for name, count in counts.items() for turn in range(count)]
            orders.append(tuple(name for _, name in sorted(due, key=lambda one: one[0])))
        return tuple(orders)


class ForTask:
    """An objective whose texts say which task they are shown for, to an encoder that embeds it (section 4.1).

    Args:
        objective: that makes the puzzles.
        task: its number in the table of tasks.
    """

    def __init__(self, objective: Objective, task: int) -> None:
        self.objective = objective
        self.task = task
        self.head_sizes = required_heads(objective)
        self.heads = tuple(self.head_sizes)

    @property
    def name(self) -> str:
        """As the objective's."""
        return self.objective.name

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> Any:
        """A puzzle of the objective; every row of the text is told the task."""
        if inputs.text is not None:
            tasks = torch.full_like(inputs.text.ids, self.task)
            inputs = inputs.with_streams(text=replace(inputs.text, tasks=tasks))
        return self.objective.prepare(inputs, generator)

    def loss(self, system: System, batch: Any) -> Tensor:
        """As the objective's."""
        return self.objective.loss(system, batch)

    def measure(self, system: System, batch: Any) -> Tensor:
        """As the objective's, [B]."""
        return self.objective.measure(system, batch)
