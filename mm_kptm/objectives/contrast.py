"""In-batch contrastive loss: the positive of an example against those of all other examples.

Shapes: B examples, D dim.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def in_batch_contrast(left: Tensor, right: Tensor, *, temperature: float | Tensor = 0.07) -> Tensor:
    r"""The loss of every example, the mean of its two directions, [B] (InfoNCE, van den Oord et al. 2018, eq. 4).

    .. math::
        -\tfrac12 \log \frac{e^{s_{ii}/t}}{\sum_j e^{s_{ij}/t}}
        -\tfrac12 \log \frac{e^{s_{ii}/t}}{\sum_j e^{s_{ji}/t}}

    Args:
        left: one vector a row, [B, D]; compared by their cosine.
        right: row i belongs to row i of ``left``, [B, D].
        temperature: t.
    """
    scores = F.normalize(left, dim=-1) @ F.normalize(right, dim=-1).T / temperature
    targets = torch.arange(len(scores), device=scores.device)
    forward = F.cross_entropy(scores, targets, reduction="none")
    backward = F.cross_entropy(scores.T, targets, reduction="none")
    return (forward + backward) / 2
