"""The losses of a run, read from the device only when somebody asks, and stopped at when one is not finite."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from mm_kptm.errors import UserError
from mm_kptm.train.step import StepPlan


class _Computed(NamedTuple):
    """A step whose numbers are still on the device."""

    plan: StepPlan
    numbers: Tensor  #: the loss of each part this process computed, then the gradient's norm, [parts + 1]


class Losses:
    """Collects what the steps of a run computed.

    Args:
        gather: stacks a tensor of every process along its first dimension.
        lr: the highest learning rate, for the message that advises a lower one.
    """

    def __init__(self, gather: Callable[[Tensor], Tensor], lr: float) -> None:
        self._gather = gather
        self._lr = lr
        self._pending: list[_Computed] = []
        self.window: list[float] = []  #: the mean loss of each step since ``mean`` was last asked for
        self.norm = 0.0  #: length of the last gradient before clipping

    def add(self, plan: StepPlan, losses: list[Tensor], norm: Tensor) -> None:
        """Remember a step without waiting for it; ``losses`` are scalars, one a part of this process."""
        self._pending.append(_Computed(plan, torch.stack([*losses, norm])))

    def flush(self) -> None:
        """Read what is remembered; the first step that is not finite raises ``UserError`` in every process."""
        if not self._pending:
            return
        stacked = torch.stack([computed.numbers for computed in self._pending])[None]  # [1, steps, parts + 1]
        everywhere: list[list[list[float]]] = self._gather(stacked).tolist()  # [processes, steps, parts + 1]
        for at, (plan, _) in enumerate(self._pending):
            losses = [loss for process in everywhere for loss in process[at][:-1]]
            self.norm = everywhere[0][at][-1]
            self._check(plan, losses)
            weights = [plan.weight(part, len(losses)) for part in range(len(losses))]
            self.window.append(sum(loss * weight for loss, weight in zip(losses, weights, strict=True)))
        self._pending = []

    def mean(self) -> float:
        """The mean over the steps since this was last asked."""
        mean = sum(self.window) / len(self.window)
        self.window = []
        return mean

    def _check(self, plan: StepPlan, losses: list[float]) -> None:
        bad = [part for part, loss in enumerate(losses) if not math.isfinite(loss)]
        if not bad and math.isfinite(self.norm):
            return
        what = f"loss is {losses[bad[0]]}" if bad else f"gradient has norm {self.norm}"
        parts = bad or range(len(losses))
        examples = sorted({i for part in parts for i in plan.examples(part, len(losses))})
        raise UserError(
            f"the {what} at step {plan.step} on examples {_some(examples)}; look at these examples, or train with a "
            f"train.lr below {self._lr:g}"
        )


def _some(examples: list[int]) -> str:
    shown = ", ".join(map(str, examples[:8]))
    return f"{shown} and {len(examples) - 8} more" if len(examples) > 8 else shown
