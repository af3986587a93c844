"""Weighted mixtures of objectives on one batch.

Shapes: B examples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from mm_kptm.batch import Encoded, Inputs
from mm_kptm.errors import UserError
from mm_kptm.systems.system import System


class Objective(Protocol):
    """Pretraining objective: corrupts inputs into a batch with labels, and computes the loss of a system on it."""

    @property
    def name(self) -> str:
        """Name in experiment files and mixtures."""

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> Any:
        """A corrupted copy of the inputs with its labels; movable between devices."""

    def loss(self, system: System, batch: Any) -> Tensor:
        """The loss of the batch, a scalar."""

    def measure(self, system: System, batch: Any) -> Tensor:
        """The loss of each example, [B]."""


@runtime_checkable
class PooledObjective(Protocol):
    """Objective on the pooled states of unchanged inputs, which a task beside it may compute for both."""

    def pooled_loss(self, system: System, batch: Any, pooled: Tensor) -> Tensor:
        """The loss of the batch from its pooled states [B, D], a scalar."""


@runtime_checkable
class EncodedObjective(Protocol):
    """Objective on the final states of unchanged inputs, which a task beside it may compute for both."""

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams whose states it reads, all of their rows."""

    def encoded_loss(self, system: System, batch: Any, encoded: Encoded) -> Tensor:
        """The loss of the batch from the states of :attr:`streams`, a scalar."""


@runtime_checkable
class AfterStepObjective(Protocol):
    """Objective with state that follows the weights of the system, such as a momentum encoder."""

    def after_step(self, system: System, step: int) -> None:
        """Update that state after an optimiser step, counted from 1."""


def after_step(objectives: Iterable[Objective], system: System, step: int) -> None:
    """Call those objectives that update something after every optimiser step."""
    for objective in objectives:
        if isinstance(objective, AfterStepObjective):
            objective.after_step(system, step)


def required_heads(objective: Objective) -> dict[str, dict[str, Any]]:
    """The heads that a system needs for an objective, with their sizes.

    By default one head of the objective's own name. An objective with other heads names them in ``head`` or ``heads``;
    sizes known from the data are in ``sizes`` (of its only head) or ``head_sizes`` (by head).
    """
    names: tuple[str, ...] = getattr(objective, "heads", (getattr(objective, "head", objective.name),))
    each: Mapping[str, Mapping[str, Any]] = getattr(objective, "head_sizes", {})
    return {name: {**getattr(objective, "sizes", {}), **each.get(name, {})} for name in names}


@dataclass(frozen=True)
class MixtureBatch:
    """One prepared batch per objective, all from the same examples."""

    by_name: Mapping[str, Any]
    size: int
    factor: float = 1.0  #: of the weighted sum of their losses

    def to(self, device: torch.device | str) -> Self:
        """The same batches with their tensors on ``device``."""
        return replace(self, by_name={name: prepared.to(device) for name, prepared in self.by_name.items()})

    def __len__(self) -> int:
        return self.size


@dataclass(frozen=True)
class Objectives:
    """Several objectives by name: they prepare batches without the system that is trained."""

    by_name: Mapping[str, Objective]

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> MixtureBatch:
        """One prepared batch per objective, drawn in the order of their names."""
        batches = {name: self.by_name[name].prepare(inputs, generator) for name in sorted(self.by_name)}
        return MixtureBatch(batches, len(inputs))

    def only(self, name: str) -> Objectives:
        """One of them alone."""
        return Objectives({name: self.by_name[name]})


class Mixture(nn.Module):
    r"""The weighted sum :math:`\sum_o w_o L_o` of the losses of several objectives over one system.

    Raises:
        UserError: there is no objective, or a weight is not positive.
    """

    def __init__(self, system: System, objectives: Mapping[str, Objective], weights: Mapping[str, float]) -> None:
        super().__init__()
        if not objectives:
            raise UserError("a mixture needs at least one objective")
        for name in objectives:
            if not weights[name] > 0:
                raise UserError(f"the weight of objective {name} must be positive, not {weights[name]}")
        self.system = system
        self.objectives = dict(objectives)
        self.weights = {name: float(weights[name]) for name in objectives}

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> MixtureBatch:
        """As :meth:`Objectives.prepare`."""
        return Objectives(self.objectives).prepare(inputs, generator)

    def only(self, name: str) -> Objectives:
        """One of the objectives alone."""
        return Objectives(self.objectives).only(name)

    def loss(self, batch: MixtureBatch) -> Tensor:
        """The weighted sum of the losses of the objectives in the batch."""
        losses = [
            self.weights[name] * self.objectives[name].loss(self.system, prepared)
            for name, prepared in batch.by_name.items()
        ]
        return batch.factor * torch.stack(losses).sum()

    def measure(self, batch: MixtureBatch) -> dict[str, Tensor]:
        """The loss of every objective on each example."""
        return {name: self.objectives[name].measure(self.system, prepared) for name, prepared in batch.by_name.items()}

    def after_step(self, step: int) -> None:
        """Let objectives update what follows the weights, after an optimiser step counted from 1."""
        after_step(self.objectives.values(), self.system, step)
