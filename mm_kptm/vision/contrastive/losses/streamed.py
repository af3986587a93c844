"""InfoNCE in blocks of rows: memory grows linearly in the batch, and the gradients are formed by hand.

Two passes over the scores, a block at a time: the first sums exponentials along rows and columns, the second forms
the gradient of the scores, which is used up at once. Four products of matrices instead of six, and no matrix of B x B.

Shapes: B pairs, b rows of a block, D dim.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from mm_kptm.nn.fused import matmul_transposed

BLOCK = 256  #: rows of a block
_TINY = 1e-25  #: smaller sums of exponentials may have lost terms that count
_FAR = 60.0  #: logarithms further apart than this need more than one shift


def streamed_contrast(left: Tensor, right: Tensor, scale: Tensor | float, *, block: int = BLOCK) -> Tensor:
    """The mean of :func:`~mm_kptm.vision.contrastive.losses.info_nce.contrast_losses` in one process, a scalar.

    Args:
        left: normalised here, [B, D].
        right: row i belongs to row i of ``left``, normalised here, [B, D].
        scale: the inverse temperature.
        block: b, the rows whose scores exist at a time.
    """
    left, right = F.normalize(left, dim=-1), F.normalize(right, dim=-1)
    scale = torch.as_tensor(scale, dtype=left.dtype, device=left.device)
    loss: Tensor = _Streamed.apply(left * scale, right, block)
    return loss


class _Streamed(torch.autograd.Function):
    """Symmetric cross-entropy of the scores ``left @ right.T`` with their diagonal."""

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, block: int) -> Tensor:
        left, right = left.contiguous(), right.contiguous()
        rows, columns = _log_sums(left, right, block)
        ctx.save_for_backward(left, right, rows, columns)
        ctx.block = block
        return (rows.mean() + columns.mean()) / 2 - (left * right).sum(-1).mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        left, right, rows, columns = ctx.saved_tensors
        weight = gradient / (2 * len(left))
        to_left, to_right = torch.empty_like(left), torch.zeros_like(right)
        lowest = columns.min()
        near = bool((torch.maximum(rows.max(), columns.max()) - torch.minimum(rows.min(), lowest)) < _FAR)
        factors, one = (lowest - columns).exp(), left.new_ones(())
        buffer = left.new_empty(min(ctx.block, len(left)), len(right))
        for start in range(0, len(left), ctx.block):
            part = slice(start, start + ctx.block)
            scores = matmul_transposed(left[part], right)
            other = buffer[: len(scores)]
            if near:  # exp(s - r) + exp(s - c) = exp(s - r) (1 + exp(r - c)): one exponential for both softmaxes
                torch.addcmul(one, (rows[part, None] - lowest).exp(), factors, out=other)
                both = scores.sub_(rows[part, None]).exp_().mul_(other)
            else:
                torch.sub(scores, columns, out=other)
                both = scores.sub_(rows[part, None]).exp_().add_(other.exp_())
            both.diagonal(start).sub_(2)
            to_left[part] = matmul_transposed(both, right.T)
            to_right.addmm_(both.T, left[part])
        return to_left.mul_(weight), to_right.mul_(weight), None


def _log_sums(left: Tensor, right: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """Logarithms of the sums of exponentials of all scores along rows and along columns, each [B]."""
    shift, columns, rows = None, left.new_zeros(len(right)), []
    for start in range(0, len(left), block):
        scores = matmul_transposed(left[start : start + block], right)
        shift = scores.max() if shift is None else shift
        terms = scores.sub_(shift).exp_()
        rows.append(terms.sum(1))
        columns += terms.sum(0)
    sums = torch.cat(rows)
    least, most = (float(part) for part in (torch.minimum(sums.min(), columns.min()), sums.sum()))
    if least > _TINY and math.isfinite(most) and shift is not None:
        return sums.log() + shift, columns.log() + shift
    return _far_log_sums(left, right, block)


def _far_log_sums(left: Tensor, right: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """The same where scores lie so far apart that one shift for all of them would lose some."""
    columns, rows = left.new_full((len(right),), float("-inf")), []
    for start in range(0, len(left), block):
        scores = matmul_transposed(left[start : start + block], right)
        rows.append(scores.logsumexp(1))
        columns = torch.logaddexp(columns, scores.logsumexp(0))
    return torch.cat(rows), columns
