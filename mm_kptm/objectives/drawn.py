"""One objective a step, drawn by the weights of all.

UNITER (Chen et al. 2020, section 3.2) samples one task for each mini-batch and trains on it alone: a step costs one
forward pass, and the mean over steps is that of the weighted losses, where a sum of all takes a pass for each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch

from mm_kptm.data.sampler import seeded

_NO_PART = -1  # in the place of the part of a batch, whose numbers are not negative


@dataclass(frozen=True)
class DrawnObjectives:
    """Objective of each step, a function of the seed and the step alone, so that a resumed run draws the same.

    >>> drawn = DrawnObjectives({"frequent": 3.0, "rare": 1.0}, seed=0)
    >>> sum(drawn.objective(step) == "rare" for step in range(1, 1001))
    242

    Args:
        weights: by objective; each is drawn with its share of their sum.
        seed: of the run.
    """

    weights: Mapping[str, float]
    seed: int

    def objective(self, step: int) -> str:
        """Name of the objective trained at a step; steps count from 1."""
        names, bounds = self._bounds
        drawn = torch.rand(1, generator=seeded(self.seed, step, _NO_PART), dtype=torch.float64).item() * bounds[-1]
        return next(name for name, bound in zip(names, bounds, strict=True) if drawn < bound or bound == bounds[-1])

    def factor(self, name: str) -> float:
        """Factor that leaves an objective without its weight, which says already how often it is drawn."""
        return 1 / self.weights[name]

    @cached_property
    def _bounds(self) -> tuple[tuple[str, ...], tuple[float, ...]]:
        names = tuple(sorted(self.weights))
        return names, tuple(accumulate(self.weights[name] for name in names))
