"""Contrast of two views of the same images, and of images of the same class.

Shapes: B images of this process, N images of all processes, R rows, D dim.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.errors import UserError
from mm_kptm.vision.contrastive.losses.gathering import GatheredRows, gather_rows

HIDDEN = -1e9  #: score of a row with itself


class ViewScores(NamedTuple):
    """Scores of the two views of every image."""

    first: Tensor  #: first views against all second views, then against all first ones, [B, 2N]
    second: Tensor  #: second views against all first views, then against all second ones, [B, 2N]
    targets: Tensor  #: the column of the other view of the same image, [B]

    @property
    def losses(self) -> Tensor:
        """The cross-entropy of every first and every second view, [2, B]."""
        return torch.stack(
            [F.cross_entropy(side, self.targets, reduction="none") for side in (self.first, self.second)]
        )


def view_scores(
    first: Tensor, second: Tensor, *, temperature: float, normalized: bool = True, across_processes: bool = True
) -> ViewScores:
    """Scores of two views over the images of all processes (Chen et al. 2020, SimCLR, eq. 1).

    Args:
        first: vectors of first views, [B, D].
        second: vectors of second views; row i of both shows the same image, [B, D].
        temperature: divides the scores.
        normalized: whether vectors are compared by their cosine.
        across_processes: whether the images of other processes take part; all must then call it.
    """
    if normalized:
        first, second = F.normalize(first, dim=-1), F.normalize(second, dim=-1)
    all_first, all_second = (
        gather_rows(side) if across_processes else GatheredRows(side, 0) for side in (first, second)
    )
    targets = all_first.start + torch.arange(len(first), device=first.device)
    itself = F.one_hot(targets, len(all_first.rows)).to(first.dtype) * HIDDEN
    own_first = first @ all_first.rows.T / temperature + itself
    own_second = second @ all_second.rows.T / temperature + itself
    return ViewScores(
        torch.cat([first @ all_second.rows.T / temperature, own_first], dim=1),
        torch.cat([second @ all_first.rows.T / temperature, own_second], dim=1),
        targets,
    )


def nt_xent(first: Tensor, second: Tensor, *, temperature: float = 0.1, normalized: bool = True) -> Tensor:
    """SimCLR's loss of every image, the mean over its two views, [B] (Chen et al. 2020, algorithm 1).

    The released code returns the sum of the means over first and over second views, which is twice the mean of these.
    """
    return view_scores(first, second, temperature=temperature, normalized=normalized).losses.mean(0)


def supervised_contrast(rows: Tensor, labels: Tensor, *, temperature: float = 0.1) -> Tensor:
    r"""The loss of every row whose class another row shares, zero for others, [R] (Khosla et al. 2020, eq. 2).

    .. math::
        -\frac{1}{|P(i)|} \sum_{p \in P(i)} \log \frac{e^{x_i x_p / t}}{\sum_{a \ne i} e^{x_i x_a / t}}

    Args:
        rows: vectors x, normalised here, [R, D].
        labels: class of each, [R].
        temperature: t.

    Raises:
        UserError: there is not one label for each row.
    """
    if labels.shape != rows.shape[:1]:
        raise UserError(f"{len(rows)} rows are contrasted by their class, but there are {labels.numel()} labels")
    rows = F.normalize(rows, dim=-1)
    gathered = gather_rows(rows)
    all_labels = gather_rows(labels[:, None], gradient="none").rows[:, 0]
    places = gathered.start + torch.arange(len(rows), device=rows.device)
    others = ~F.one_hot(places, len(gathered.rows)).bool()
    scores = (rows @ gathered.rows.T / temperature).masked_fill(~others, float("-inf"))
    logs = scores - scores.logsumexp(dim=1, keepdim=True)
    positives = others & (labels[:, None] == all_labels)
    return -logs.masked_fill(~positives, 0.0).sum(1) / positives.sum(1).clamp(min=1)
