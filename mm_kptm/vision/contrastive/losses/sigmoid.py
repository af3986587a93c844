"""The pairwise sigmoid loss of SigLIP, whose texts travel from process to process instead of being gathered.

Shapes: B pairs of this process, M texts of another one, D dim.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from mm_kptm.train.parallel.processes import rank_and_world_size
from mm_kptm.vision.contrastive.losses.gathering import counts_of_processes


def sigmoid_losses(
    images: Tensor, texts: Tensor, scale: Tensor | float, bias: Tensor | float, *, across_processes: bool = True
) -> Tensor:
    r"""The loss of every image of this process over the texts of all processes, [B] (Zhai et al. 2023, eq. 1).

    .. math:: -\sum_j \log \sigma\big(z_{ij}\,(s\,x_i y_j + b)\big), \quad z_{ij} = 1 \text{ if } i = j \text{ else } -1

    Its mean over the images of all processes is the loss of the whole batch. A process holds the texts of one other
    process at a time (section 3.3).

    Args:
        images: x, normalised here, [B, D].
        texts: y; row i belongs to row i of ``images``, [B, D].
        scale: s; :math:`\log s` starts at log 10 in the paper.
        bias: b; starts at -10 in the paper.
        across_processes: whether the texts of other processes take part; all must then call it.
    """
    images, texts = F.normalize(images, dim=-1), F.normalize(texts, dim=-1)
    own = 2 * torch.eye(len(images), len(texts), device=images.device, dtype=images.dtype) - 1
    losses = -F.logsigmoid(own * (scale * images @ texts.T + bias)).sum(-1)
    for others in neighbours(texts) if across_processes else ():
        losses = losses - F.logsigmoid(-(scale * images @ others.T + bias)).sum(-1)
    return losses


def neighbours(rows: Tensor) -> Iterator[Tensor]:
    """The rows of every other process, the next one's first, each handed on from neighbour to neighbour, [M, D]."""
    rank, processes = rank_and_world_size()
    if processes == 1:
        return
    counts = counts_of_processes(len(rows), rows.device)
    rows = rows[: counts[rank]]  # none of a process that stands in
    for step in range(1, processes):
        rows = _HandOn.apply(rows, counts[(rank + step) % processes])
        yield rows


class _HandOn(torch.autograd.Function):
    """Send rows to the process before and take those of the process behind; gradients travel the other way."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, expected: int) -> Tensor:
        ctx.sent = len(rows)
        return _exchange(rows, expected, to=-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _exchange(gradient, ctx.sent, to=1), None


def _exchange(rows: Tensor, expected: int, *, to: int) -> Tensor:
    rank, processes = rank_and_world_size()
    received = rows.new_empty(expected, *rows.shape[1:])
    sending = dist.P2POp(dist.isend, rows.contiguous(), (rank + to) % processes)
    receiving = dist.P2POp(dist.irecv, received, (rank - to) % processes)
    for work in dist.batch_isend_irecv([sending, receiving]):
        work.wait()
    return received
