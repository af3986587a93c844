"""Loss bookkeeping: read from the device only when logged; a non-finite loss stops the run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from mm_kptm.errors import UserError
from mm_kptm.train.step import StepPlan


class _Computed(NamedTuple):
    """Step whose losses are still on the device."""

    plan: StepPlan
    numbers: Tensor  #: losses of the local micro-batches, then the gradient norm, [parts + 1]


class Losses:
    """Collector of losses and gradient norms.

    Args:
        gather: concatenates a tensor of every process along its first dimension.
        lr: peak learning rate, for the error message.
        may_overflow: a gradient norm may be infinite, as with a scaled loss, whose steps are skipped then.
    """

    def __init__(self, gather: Callable[[Tensor], Tensor], lr: float, *, may_overflow: bool = False) -> None:
        self._gather = gather
        self._lr = lr
        self._may_overflow = may_overflow
        self._pending: list[_Computed] = []
        self.window: list[float] = []  #: mean loss of each step since the last ``mean``
        self.norm = 0.0  #: last gradient norm before clipping

    def add(self, plan: StepPlan, losses: list[Tensor], norm: Tensor) -> None:
        """Record a step without synchronising; ``losses`` are scalars, one per local micro-batch."""
        self._pending.append(_Computed(plan, torch.stack([*losses, norm])))

    def flush(self) -> None:
        """Read the recorded steps; the first non-finite one raises ``UserError`` in every process."""
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
        """Mean loss over the steps since the last call."""
        mean = sum(self.window) / len(self.window)
        self.window = []
        return mean

    def _check(self, plan: StepPlan, losses: list[float]) -> None:
        bad = [part for part, loss in enumerate(losses) if not math.isfinite(loss)]
        if not bad and (self._may_overflow or math.isfinite(self.norm)):
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
