"""Similarity of sentence vectors: cosine, centred cosine and margin."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

Likeness = Callable[[Tensor, Tensor], Tensor]  #: [N, D] and [N, D] -> pairwise similarity, [N, N]


def cosine(left: Tensor, right: Tensor) -> Tensor:
    """Pairwise cosine similarity, [N, N]."""
    return F.normalize(left, dim=-1) @ F.normalize(right, dim=-1).T


def centred(left: Tensor, right: Tensor) -> Tensor:
    """Pairwise cosine similarity after subtracting the mean of each side, [N, N].

    The mean over the sentences of a language mostly encodes the language (Libovický et al. 2020, On the language
    neutrality of pre-trained multilingual representations, section 3).
    """
    return cosine(left - left.mean(dim=0), right - right.mean(dim=0))


def margin(left: Tensor, right: Tensor, *, neighbours: int = 4) -> Tensor:
    r"""Margin score: cosine relative to the nearest neighbours (Artetxe and Schwenk 2019, eq. 2, ratio).

    .. math:: \frac{\cos(x, y)}{\frac12 (\bar x + \bar y)}

    with :math:`\bar x` the mean cosine of x and its k nearest neighbours on the other side; it corrects for hubs, which
    are similar to everything.
    """
    cosines = cosine(left, right)
    k = min(neighbours, len(cosines))
    near_left = cosines.topk(k, dim=1).values.mean(dim=1)
    near_right = cosines.topk(k, dim=0).values.mean(dim=0)
    return cosines / ((near_left[:, None] + near_right[None, :]) / 2)
