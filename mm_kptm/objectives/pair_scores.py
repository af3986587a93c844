"""Losses on the scores of matched and mismatched pairs.

Shapes: B pairs, N negatives, S texts and as many videos.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.errors import UserError


def circle_loss(positive: Tensor, negative: Tensor, *, margin: float = 0.2, scale: float = 1.0) -> Tensor:
    r"""Circle loss on scores between 0 and 1 (Sun et al. 2020, eq. 4, as ERNIE-ViL and UNIMO use it), a scalar.

    .. math::
        \log\Big(1 + \sum_j e^{\gamma \alpha_j (s_j - m)} \sum_i e^{-\gamma \alpha_i (s_i - 1 + m)}\Big),
        \quad \alpha_j = [s_j + m]_+, \; \alpha_i = [1 + m - s_i]_+

    The weights get no gradient.

    Args:
        positive: scores of matched pairs, [B, P].
        negative: scores of mismatched pairs, [B, N].
        margin: m.
        scale: :math:`\gamma`.
    """
    towards = (1 + margin - positive.detach()).clamp(min=0)
    away = (negative.detach() + margin).clamp(min=0)
    wrong = scale * away * (negative - margin)
    right = -scale * towards * (positive - 1 + margin)
    return F.softplus(wrong.logsumexp(-1) + right.logsumexp(-1)).mean()


def multi_positive_contrast(scores: Tensor, positive: Tensor, *, temperature: float = 1.0) -> Tensor:
    r"""Minus the log of the share of the positives, a scalar (Li et al. 2021, UNIMO, eq. 1).

    .. math:: -\log \frac{\sum_{i \in P} e^{s_i/t}}{\sum_i e^{s_i/t}}

    Args:
        scores: of an example against all candidates, [..., N].
        positive: true at the positives, [..., N].
        temperature: t.
    """
    scaled = scores / temperature
    return (scaled.logsumexp(-1) - scaled.masked_fill(~positive, float("-inf")).logsumexp(-1)).mean()


def diagonal_cross_entropy(scores: Tensor) -> Tensor:
    """Cross-entropy of every row against its own column, averaged, from scores [S, S] (UniVL's released code)."""
    return F.cross_entropy(scores, torch.arange(len(scores), device=scores.device))


def mil_nce(scores: Tensor, *, group: int = 1) -> Tensor:
    r"""MIL-NCE over groups of clips of one video (Miech et al. 2020, eq. 1, in UniVL's released code), a scalar.

    The texts of a group are positives of its middle clip; its negatives are the other texts, and for the middle text
    the clips of other groups.

    Args:
        scores: rows are texts, columns clips, [S, S].
        group: neighbouring clips of one video.

    Raises:
        UserError: the scores cannot be cut into groups.
    """
    groups = _groups(scores, group)
    same = groups[:, None] == groups[None, :]
    middles = torch.arange(group // 2, len(scores), group, device=scores.device)
    texts = scores.T[middles]  # every text against the middle clip
    inside, hidden = same[middles], float("-inf")
    clips = scores[middles].masked_fill(inside, hidden)
    right = texts.masked_fill(~inside, hidden).logsumexp(-1)
    return (torch.cat([texts, clips], dim=1).logsumexp(-1) - right).mean()


def max_margin(scores: Tensor, *, margin: float = 0.1, group: int = 1, hard_rate: float | None = None) -> Tensor:
    r"""Hinge of every pair against both of its positives, averaged over all pairs, a scalar (UniVL's released code).

    .. math:: [m + s_{ij} - s_{ii}]_+ + [m + s_{ij} - s_{jj}]_+

    The diagonal itself counts, with 2 m.

    Args:
        scores: rows are texts, columns clips, [S, S].
        margin: m.
        group: neighbouring clips of one video, which are hard negatives of each other.
        hard_rate: share of the weight on pairs within a group; None weighs all pairs alike.

    Raises:
        UserError: the scores cannot be cut into groups.
    """
    groups = _groups(scores, group)
    own = scores.diagonal()
    hinges = (margin + scores - own[:, None]).clamp(min=0) + (margin + scores - own[None, :]).clamp(min=0)
    count = len(scores) // group
    if hard_rate is not None and group > 1 and count > 1:
        same = groups[:, None] == groups[None, :]
        hinges = hinges * torch.where(same, count * hard_rate, count * (1 - hard_rate) / (count - 1))
    return hinges.mean()


def _groups(scores: Tensor, group: int) -> Tensor:
    if scores.ndim != 2 or scores.shape[0] != scores.shape[1] or group < 1 or len(scores) % group:
        raise UserError(
            f"scores of texts against clips are a square of whole groups of {group}, but their shape is "
            f"{list(scores.shape)}"
        )
    return torch.arange(len(scores), device=scores.device) // group
