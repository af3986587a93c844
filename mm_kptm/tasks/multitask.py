"""A task and pretraining objectives trained together: the inputs of every batch are also puzzles.

A question whose words are hidden can be completed from the picture and the facts, which teaches to link them at every
hidden word instead of once per answer.

Shapes: B examples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from mm_kptm.batch import Inputs
from mm_kptm.errors import UserError
from mm_kptm.objectives.mixture import MixtureBatch, Objective, Objectives
from mm_kptm.tasks.protocol import Task
from mm_kptm.train.protocol import Source


@dataclass(frozen=True)
class MultiTaskBatch:
    """Examples of a task, and puzzles made of their inputs."""

    examples: Any  #: a batch of the task
    batches: MixtureBatch

    def to(self, device: torch.device | str) -> Self:
        """The same with every tensor on ``device``."""
        return type(self)(self.examples.to(device), self.batches.to(device))

    def __len__(self) -> int:
        return len(self.examples)


@dataclass(frozen=True)
class MultiTaskSource:
    """The examples of a task with puzzles; what is hidden is drawn from the batch's generator."""

    examples: Source[Any]
    objectives: Objectives

    def __len__(self) -> int:
        return len(self.examples)

    def length(self, index: int) -> int:
        """As that of the example."""
        return self.examples.length(index)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> MultiTaskBatch:
        """The given examples.

        Raises:
            UserError: a batch of the task has no inputs of its own.
        """
        examples = self.examples.batch(indices, generator)
        inputs = getattr(examples, "inputs", None)
        if not isinstance(inputs, Inputs):
            raise UserError(
                f"objectives were asked for beside a task whose batches ({type(examples).__name__}) hold no single "
                "inputs to make puzzles of; pretrain in a run of its own"
            )
        return MultiTaskBatch(examples, self.objectives.prepare(inputs, generator))


class MultiTask(nn.Module):
    r"""A task with objectives beside it: the loss is :math:`L_\mathrm{task} + \sum_o w_o L_o`.

    It is measured as the task is, on the task's own batches.
    """

    def __init__(self, task: Task[Any], objectives: Mapping[str, Objective], weights: Mapping[str, float]) -> None:
        super().__init__()
        self.task = task
        self.objectives = dict(objectives)
        self.weights = {name: float(weights[name]) for name in objectives}

    def training_source(self, examples: Source[Any]) -> MultiTaskSource:
        """What it is trained on, made of what the task is trained on."""
        return MultiTaskSource(examples, Objectives(self.objectives))

    def loss(self, batch: MultiTaskBatch) -> Tensor:
        """The task's loss and the weighted losses of the objectives, a scalar."""
        losses = [
            self.weights[name] * self.objectives[name].loss(self.task.system, prepared)
            for name, prepared in batch.batches.by_name.items()
        ]
        return torch.stack([self.task.loss(batch.examples), *losses]).sum()

    def measure(self, batch: Any) -> dict[str, Tensor]:
        """The measures of the task, [B] each."""
        return self.task.measure(batch)
