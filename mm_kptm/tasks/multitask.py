"""Multi-task training of a task and pretraining objectives on the same inputs.

Masked words of a question can be predicted from the image and the facts, which gives a training signal for linking them
at every masked word instead of once per answer.

Shapes: B examples.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, cast, runtime_checkable

import torch
from torch import Tensor, nn

from mm_kptm.batch import EVERY_ROW, Encoded, Inputs, OutputRows
from mm_kptm.errors import UserError
from mm_kptm.objectives.mixture import (
    EncodedObjective,
    MixtureBatch,
    Objective,
    Objectives,
    PooledObjective,
    after_step,
)
from mm_kptm.tasks.protocol import Task
from mm_kptm.train.protocol import AfterStep, Source


@dataclass(frozen=True)
class MultiTaskBatch:
    """A task batch, and objective batches prepared from the same inputs."""

    examples: Any  #: batch of the task
    batches: MixtureBatch

    def to(self, device: torch.device | str) -> Self:
        """The same with every tensor on ``device``."""
        return type(self)(self.examples.to(device), self.batches.to(device))

    def __len__(self) -> int:
        return len(self.examples)


@dataclass(frozen=True)
class MultiTaskSource:
    """The examples of a task with objective batches; masks are drawn from the batch's generator."""

    examples: Source[Any]
    objectives: Objectives

    def __len__(self) -> int:
        return len(self.examples)

    def length(self, index: int) -> int:
        """Length of the example."""
        return self.examples.length(index)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> MultiTaskBatch:
        """The batch of the given indices.

        Raises:
            UserError: the batches of the task have no single ``inputs``.
        """
        examples = self.examples.batch(indices, generator)
        inputs = getattr(examples, "inputs", None)
        if not isinstance(inputs, Inputs):
            raise UserError(
                f"objectives were asked for beside a task whose batches ({type(examples).__name__}) hold no single "
                "inputs to mask; pretrain in a separate run"
            )
        return MultiTaskBatch(examples, self.objectives.prepare(inputs, generator))


@dataclass(frozen=True)
class TwoSources:
    """The examples of a task, and as many of other data for the objectives, drawn with replacement.

    ``own`` are objectives on the examples themselves, such as one that reads their labels.
    """

    examples: Source[Any]
    others: Source[MixtureBatch]
    own: Objectives = field(default_factory=lambda: Objectives({}))

    def __len__(self) -> int:
        return len(self.examples)

    def length(self, index: int) -> int:
        """Length of the example of the task."""
        return self.examples.length(index)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> MultiTaskBatch:
        """The batch of the given indices; the examples of the objectives come from the generator."""
        drawn = torch.randint(len(self.others), (len(indices),), generator=generator).tolist()
        examples, others = self.examples.batch(indices, generator), self.others.batch(drawn, generator)
        if not self.own.by_name:
            return MultiTaskBatch(examples, others)
        own = self.own.prepare(examples.inputs, generator)
        return MultiTaskBatch(examples, MixtureBatch({**others.by_name, **own.by_name}, len(others)))


@runtime_checkable
class PooledTask(Protocol):
    """Task whose loss follows from the pooled states of its inputs."""

    def encoded(self, batch: Any, rows: OutputRows) -> Encoded:
        """The pooled states of the batch, and the states of what else is asked for."""

    def pooled_loss(self, batch: Any, pooled: Tensor) -> Tensor:
        """The loss of the batch from its pooled states, a scalar."""


class MultiTask(nn.Module):
    r"""A task with auxiliary objectives: the loss is :math:`w L_\mathrm{task} + \sum_o w_o L_o`.

    Evaluation uses the measures and batches of the task alone.

    Args:
        task: the task.
        objectives: the objectives by name.
        weights: w, by objective.
        others: opens the data of the objectives; None: they read the inputs of the task.
        task_weight: w; with 0 the task is not computed in training.
        own: objectives that read the inputs of the task though there are other data.
    """

    def __init__(
        self,
        task: Task[Any],
        objectives: Mapping[str, Objective],
        weights: Mapping[str, float],
        others: Callable[[], Source[MixtureBatch]] | None = None,
        task_weight: float = 1.0,
        own: Collection[str] = (),
    ) -> None:
        super().__init__()
        self.task_weight = task_weight
        self.others = others
        self.own = frozenset(objectives if others is None else own)
        self.task = task
        self.objectives = dict(objectives)
        self.weights = {name: float(weights[name]) for name in objectives}

    def training_source(self, examples: Source[Any]) -> MultiTaskSource | TwoSources:
        """The training source, from that of the task."""
        if self.others is not None:
            own = Objectives({name: one for name, one in self.objectives.items() if name in self.own})
            return TwoSources(examples, self.others(), own)
        return MultiTaskSource(examples, Objectives(self.objectives))

    def loss(self, batch: MultiTaskBatch) -> Tensor:
        """The task's loss and the weighted losses of the objectives, a scalar.

        A task that shows its states shares them with the objectives on these.
        """
        encoded = None
        if not self.task_weight:
            losses = []
        elif isinstance(self.task, PooledTask):
            task = cast(PooledTask, self.task)
            encoded = task.encoded(batch.examples, self._shared(batch.batches.by_name))
            losses = [self.task_weight * task.pooled_loss(batch.examples, encoded.pooled)]
        else:
            losses = [self.task_weight * self.task.loss(batch.examples)]
        for name, prepared in batch.batches.by_name.items():
            shown = encoded if name in self.own else None
            losses.append(self.weights[name] * self._loss(self.objectives[name], prepared, shown))
        return torch.stack(losses).sum()

    def _shared(self, names: Collection[str]) -> OutputRows:
        """Pooled states, and all rows of the streams that objectives on the inputs of the task read."""
        own = [self.objectives[name] for name in names if name in self.own]
        read = [stream for one in own if isinstance(one, EncodedObjective) for stream in one.streams]
        return OutputRows(dict.fromkeys(read, EVERY_ROW))

    def _loss(self, objective: Objective, prepared: Any, encoded: Encoded | None) -> Tensor:
        """The loss of an objective, from states of the task where it reads these."""
        if encoded is not None and isinstance(objective, EncodedObjective):
            return objective.encoded_loss(self.task.system, prepared, encoded)
        if encoded is not None and isinstance(objective, PooledObjective):
            return objective.pooled_loss(self.task.system, prepared, encoded.pooled)
        return objective.loss(self.task.system, prepared)

    def measure(self, batch: Any) -> dict[str, Tensor]:
        """The measures of the task, [B] each."""
        return self.task.measure(batch)

    def after_step(self, step: int) -> None:
        """Let the task and the objectives update what follows the weights, after an optimiser step counted from 1."""
        if isinstance(self.task, AfterStep):
            self.task.after_step(step)
        after_step(self.objectives.values(), self.task.system, step)
