r"""Bounds on the mutual information of two variables, from a critic's scores of all pairs of a batch.

``scores[i, j]`` is the critic :math:`T(a_i, b_j)`; pairs on the diagonal were drawn together, all others apart. Each
function returns the value to be maximised; its negative is a loss.

Shapes: B examples.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.errors import UserError


def jensen_shannon(scores: Tensor) -> Tensor:
    r"""The estimator of Deep InfoMax (Hjelm et al. 2019, eq. 4), a scalar.

    .. math:: E_{p}[-\mathrm{softplus}(-T)] - E_{q}[\mathrm{softplus}(T)]

    It grows with the mutual information but is no bound on it.
    """
    joint, apart = _parts(scores)
    return -F.softplus(-joint).mean() - F.softplus(apart).mean()


def donsker_varadhan(scores: Tensor) -> Tensor:
    r"""The Donsker-Varadhan bound (Hjelm et al. 2019, eq. 3), biased in small batches, a scalar.

    .. math:: E_{p}[T] - \log E_{q}[e^{T}]
    """
    joint, apart = _parts(scores)
    return joint.mean() - (apart.logsumexp(0) - math.log(len(apart)))


def info_nce(scores: Tensor) -> Tensor:
    r"""The InfoNCE bound without its constant log B (van den Oord et al. 2018, eq. 4), a scalar.

    .. math:: \frac1B \sum_i \Big[T_{ii} - \log \sum_j e^{T_{ij}}\Big]
    """
    joint, _ = _parts(scores)
    return (joint - scores.logsumexp(1)).mean()


def _parts(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Scores of pairs drawn together [B] and drawn apart [B * (B - 1)].

    Raises:
        UserError: the scores are no square, or of one example alone.
    """
    if scores.dim() != 2 or scores.shape[0] != scores.shape[1] or len(scores) < 2:
        raise UserError(
            f"mutual information is estimated from the scores of all pairs of two examples or more, [B, B], but the "
            f"scores have shape {list(scores.shape)}"
        )
    apart = ~torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    return scores.diagonal(), scores[apart]


#: The estimators by the names that papers give them.
ESTIMATORS = {"jsd": jensen_shannon, "dv": donsker_varadhan, "infonce": info_nce}
