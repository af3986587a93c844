"""Tables of vectors of which few rows are read and written at a time, and optimisers that do so.

A table lies in memory, or in a file that is mapped, so that it may be larger than memory. The processes of one machine
map the same files: the first of them writes the rows of a step, and all wait for it before they read again.

Shapes: N rows of a table, U rows of a step, D values of a row.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from mm_kptm.io.atomic import writing
from mm_kptm.train.parallel.processes import barrier, rank_and_world_size

BETAS, EPS = (0.9, 0.999), 1e-8  #: of Adam


@dataclass(frozen=True)
class Tables:
    """Makes tables of zeros.

    Args:
        device: of tables in memory.
        folder: for mapped files; None: in memory.
    """

    device: torch.device
    folder: Path | None = None

    @property
    def writes(self) -> bool:
        """Whether this process writes rows: of mapped files the first process of each machine, else every one."""
        return self.folder is None or int(os.environ.get("LOCAL_RANK", "0")) == 0

    def zeros(self, name: str, rows: int, width: int) -> Tensor:
        """A table, [N, D]; every process asks for it."""
        if self.folder is None:
            return torch.zeros(rows, width, device=self.device)
        path = self.folder / f"{name}.npy"
        if self.writes:
            with writing(path):
                self.folder.mkdir(parents=True, exist_ok=True)
                np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(rows, width)).flush()
        self.settle()
        return torch.from_numpy(np.load(path, mmap_mode="r+"))

    def settle(self) -> None:
        """Wait until the rows that a process writes for others are there."""
        if self.folder is not None and rank_and_world_size()[1] > 1:
            barrier()


Zeros = Callable[[str, int], Tensor]  #: a table of zeros by its name and width


class RowOptimizer(Protocol):
    """Optimiser of the rows of a table."""

    def step(self, rows: Tensor, values: Tensor, gradient: Tensor) -> Tensor:
        """New values of some rows, [U, D]."""


class RowAdam:
    """Adam whose moments and step count are those of each row (Kingma and Ba 2015, algorithm 1).

    They lie side by side in one table, so that a row of a large graph is looked for in memory once.
    """

    def __init__(self, zeros: Zeros, width: int, lr: float) -> None:
        self._lr, self._widths = lr, (width, width, 1)
        self._states = zeros("states", 2 * width + 1)

    def step(self, rows: Tensor, values: Tensor, gradient: Tensor) -> Tensor:
        """New values of some rows, [U, D]."""
        first, second = BETAS
        states = self._states.index_select(0, rows)
        mean, square, steps = states.split(self._widths, dim=1)
        mean.lerp_(gradient, 1 - first)
        square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        steps.add_(1)
        self._states.index_copy_(0, rows, states)
        scale = (square / (1 - second**steps)).sqrt_().add_(EPS)
        return values - (mean / scale).mul_(self._lr / (1 - first**steps))


class RowAdagrad:
    """Adagrad with one sum a row, of the mean squared gradients."""

    def __init__(self, zeros: Zeros, width: int, lr: float) -> None:
        self._lr = lr
        self._sums = zeros("sums", 1)

    def step(self, rows: Tensor, values: Tensor, gradient: Tensor) -> Tensor:
        """New values of some rows, [U, D]."""
        sums = self._sums.index_select(0, rows) + gradient.square().mean(1, keepdim=True)
        self._sums.index_copy_(0, rows, sums)
        return values - gradient.mul(self._lr).div_(sums.sqrt_().add_(EPS))


OPTIMIZERS: Mapping[str, Callable[[Zeros, int, float], RowOptimizer]] = {"adam": RowAdam, "adagrad": RowAdagrad}
