"""Optimal-transport distance between the words of a text and the regions of its image.

Shapes: B examples, L and R rows of words and regions, n and m the longest of each.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.batch import SequenceLayout, pad

BETA, ITERATIONS = 0.5, 50  # of Chen et al. (2020), released code


def transport_distances(words: Tensor, texts: SequenceLayout, regions: Tensor, images: SequenceLayout) -> Tensor:
    r"""The cost of the best transport from the words to the regions of each example, [B] (Chen et al. 2020, eq. 4).

    .. math:: \min_T \sum_{ij} T_{ij}\, (1 - \cos(w_i, v_j))

    Words are weighted alike, and so are regions. The plan T is found without a gradient; the distance has one through
    the cost. Everything is computed in float32. An example without words or without regions is at distance 0.

    Args:
        words: the final states of all tokens, [L, D].
        texts: layout of the tokens.
        regions: the final states of all regions, [R, D].
        images: layout of the regions.
    """
    with torch.autocast(words.device.type, enabled=False):
        # eps of the released code
        left = F.normalize(pad(words.float(), texts), dim=-1, eps=1e-5)
        right = F.normalize(pad(regions.float(), images), dim=-1, eps=1e-5)
        cost = 1.0 - left @ right.transpose(1, 2)  # [B, n, m]
        plan = transport_plan(cost.detach(), _real(texts, words.device), _real(images, words.device))
        return (cost * plan).sum((1, 2))


@torch.no_grad()
def transport_plan(
    cost: Tensor, left: Tensor, right: Tensor, *, beta: float = BETA, iterations: int = ITERATIONS
) -> Tensor:
    """The transport plan between two uniform sets, [B, n, m] (IPOT: Xie et al. 2020, algorithm 1, one inner step).

    Args:
        cost: [B, n, m].
        left: true where a row of the left set is real, [B, n].
        right: the same of the right set, [B, m].
        beta: step of the proximal point method; smaller is slower and sharper.
        iterations: steps.
    """
    both = left[:, :, None] & right[:, None, :]
    left, right = both.any(2), both.any(1)  # sets with an empty counterpart have no transport
    num_left, num_right = left.sum(1, keepdim=True), right.sum(1, keepdim=True)
    kernel = torch.exp(-cost / beta).masked_fill(~both, 0.0)
    plan = both.to(cost.dtype)
    scale = left / num_left.clamp(min=1).to(cost.dtype)  # [B, n]
    for _ in range(iterations):
        sharpened = kernel * plan
        other = _inverse(num_right * torch.einsum("bn,bnm->bm", scale, sharpened), right)
        scale = _inverse(num_left * torch.einsum("bm,bnm->bn", other, sharpened), left)
        plan = scale[:, :, None] * sharpened * other[:, None, :]
    return plan


def _inverse(amounts: Tensor, real: Tensor) -> Tensor:
    """1 / amounts where real, 0 elsewhere."""
    return torch.where(real, 1.0 / amounts.masked_fill(~real, 1.0), 0.0)


def _real(layout: SequenceLayout, device: torch.device) -> Tensor:
    return pad(torch.ones(layout.total, dtype=torch.bool, device=device), layout)
