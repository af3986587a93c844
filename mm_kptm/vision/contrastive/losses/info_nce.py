"""InfoNCE between images and texts, over the batch of one process or of all, and against a queue of keys.

A process returns the loss of its own rows; the mean over all rows of all processes is the loss of the whole batch, and
so are the gradients once they are averaged the same way (:mod:`mm_kptm.vision.contrastive.losses.gathering`).

Shapes: B pairs of this process, N pairs of all processes, K keys of a queue, D dim.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.vision.contrastive.losses.gathering import GatheredRows, Gradient, gather_rows


def contrast_losses(
    left: Tensor,
    right: Tensor,
    scale: Tensor | float,
    *,
    label_smoothing: float = 0.0,
    gradient: Gradient = "summed",
    across_processes: bool = True,
) -> Tensor:
    r"""The loss of every pair of this process, the mean of both directions, [B] (Radford et al. 2021, figure 3).

    .. math::
        -\tfrac12 \log \frac{e^{s\,x_i y_i}}{\sum_j e^{s\,x_i y_j}}
        -\tfrac12 \log \frac{e^{s\,x_i y_i}}{\sum_j e^{s\,x_j y_i}}

    Args:
        left: vectors x, normalised here, [B, D].
        right: vectors y; row i belongs to row i of ``left``, [B, D].
        scale: s, the inverse temperature.
        label_smoothing: share of the target that is spread over all N pairs (0.1 in ALIGN).
        gradient: what other processes' rows receive from this loss; only ``summed`` gives exact gradients.
        across_processes: whether the rows of other processes take part; all must then call it.
    """
    left, right = F.normalize(left, dim=-1), F.normalize(right, dim=-1)
    if across_processes:
        all_left, all_right = (gather_rows(side, gradient=gradient) for side in (left, right))
    else:
        all_left, all_right = GatheredRows(left, 0), GatheredRows(right, 0)
    targets = all_left.start + torch.arange(len(left), device=left.device)
    forward = F.cross_entropy(
        scale * left @ all_right.rows.T, targets, reduction="none", label_smoothing=label_smoothing
    )
    backward = F.cross_entropy(
        scale * right @ all_left.rows.T, targets, reduction="none", label_smoothing=label_smoothing
    )
    return (forward + backward) / 2


def whole_batch_contrast(left: Tensor, right: Tensor, scale: Tensor | float, *, gradient: Gradient) -> Tensor:
    """The loss of the batch of all processes, computed by each of them in full: a scalar.

    The matrix of scores grows with the square of the number of processes; :func:`contrast_losses` makes the rows of one
    process alone. With ``summed`` gradients those are as many times too large as there are processes, which averaging
    over processes makes exact; with ``own`` the average is as many times too small.
    """
    all_left, all_right = (gather_rows(F.normalize(side, dim=-1), gradient=gradient).rows for side in (left, right))
    scores = scale * all_left @ all_right.T
    targets = torch.arange(len(scores), device=scores.device)
    return (F.cross_entropy(scores, targets) + F.cross_entropy(scores.T, targets)) / 2


def queue_losses(
    queries: Tensor,
    keys: Tensor,
    queue: Tensor,
    scale: Tensor | float,
    *,
    in_batch_negatives: bool = False,
    across_processes: bool = True,
) -> Tensor:
    r"""The loss of every query against its key and the keys of a queue, [B] (He et al. 2020, eq. 1).

    .. math:: -\log \frac{e^{s\,q_i k_i}}{e^{s\,q_i k_i} + \sum_j e^{s\,q_i n_j}}

    Args:
        queries: q, normalised, [B, D].
        keys: k, without gradient, normalised, [B, D].
        queue: n, keys of earlier batches, [K, D].
        scale: s, the inverse temperature.
        in_batch_negatives: whether the keys of other pairs of the batch are negatives, too (Li et al. 2021, ALBEF,
            section 3.2). They are as old as the positive key, so that age does not tell it from the negatives.
        across_processes: whether the batch is that of all processes; all must then call it.
    """
    stale = queries @ queue.T.to(queries.dtype)
    if not in_batch_negatives:
        own = (queries * keys).sum(-1, keepdim=True)
        targets = torch.zeros(len(queries), dtype=torch.long, device=queries.device)
        return F.cross_entropy(scale * torch.cat([own, stale], dim=1), targets, reduction="none")
    everyone = gather_rows(keys, gradient="none") if across_processes else GatheredRows(keys, 0)
    targets = everyone.start + torch.arange(len(queries), device=queries.device)
    return F.cross_entropy(scale * torch.cat([queries @ everyone.rows.T, stale], dim=1), targets, reduction="none")
