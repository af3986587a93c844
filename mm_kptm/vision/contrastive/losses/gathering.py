"""Rows of all processes, with gradients: what a contrast over a batch that several processes share reads.

Shapes: B rows of this process, N rows of all processes, D dim.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from mm_kptm.train.parallel.processes import is_stand_in, rank_and_world_size

Gradient = Literal["summed", "own", "none"]


@dataclass(frozen=True, eq=False)
class GatheredRows:
    """The rows of every process, in order of rank."""

    rows: Tensor  #: [N, D]; in a process that stands in, its own rows behind them
    start: int  #: where the rows of this process begin


def counts_of_processes(count: int, device: torch.device) -> list[int]:
    """Number of rows that each process holds, in order of rank; none of one that stands in."""
    _, processes = rank_and_world_size()
    count = 0 if is_stand_in() else count
    if processes == 1:
        return [count]
    counts = [torch.zeros(1, dtype=torch.long, device=device) for _ in range(processes)]
    dist.all_gather(counts, torch.tensor([count], device=device))
    return [int(one) for one in counts]


def gather_rows(rows: Tensor, *, gradient: Gradient = "summed") -> GatheredRows:
    """The rows of every process; they may hold different numbers of rows.

    Args:
        rows: those of this process, [B, D].
        gradient: ``summed``: every process gets the gradients that all losses have with regard to its rows, added up;
            ``own``: the rows of this process keep the gradient of its own loss, those of others have none; ``none``:
            no gradient at all.
    """
    rank, processes = rank_and_world_size()
    if processes == 1:
        return GatheredRows(rows.detach() if gradient == "none" else rows, 0)
    counts = counts_of_processes(len(rows), rows.device)
    start = sum(counts[: None if is_stand_in() else rank])
    beside = [rows] if is_stand_in() else []  # for itself: its loss, of weight zero, has a positive pair
    if gradient == "summed":
        return GatheredRows(torch.cat([_SummedGather.apply(rows[: counts[rank]], counts), *beside]), start)
    parts = _all_gather(rows.detach()[: counts[rank]], counts)
    if gradient == "own":
        parts[rank] = rows[: counts[rank]]
    return GatheredRows(torch.cat([*parts, *(one.detach() for one in beside)]), start)


class _SummedGather(torch.autograd.Function):
    """All-gather whose backward pass adds up the gradients of all processes (a reduce-scatter)."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: list[int]) -> Tensor:
        ctx.counts = counts
        return torch.cat(_all_gather(rows, counts))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        rank, _ = rank_and_world_size()
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total.split(ctx.counts)[rank], None


def _all_gather(rows: Tensor, counts: list[int]) -> list[Tensor]:
    """The rows of every process; shorter ones are padded on the way, for back ends gather equal shapes."""
    longest = max(counts)
    padded = rows.new_zeros(longest, *rows.shape[1:])
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return [part[:count] for part, count in zip(parts, counts, strict=True)]
