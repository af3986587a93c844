"""Dual BERT's loss: how far the answer in a translation may teach depends on how alike both answers are.

Shapes: B pairs, N padded length, D dim.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

_HIDDEN = -1e4


def answer_vector(states: Tensor, inside: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """The states at both ends of an answer and its self-adaptive mean, [B, 3 D] (Cui et al. 2019, section 4.3).

    Args:
        states: of a padded text, [B, N, D]; those outside the answer count as zero, and padding takes part in the inner
            softmaxes as released.
        inside: true where the answer stands, [B, N].
        first: column of its first token, [B].
        last: column of its last token, [B].
    """
    answer = states * inside.unsqueeze(-1).to(states.dtype)
    rows = torch.arange(len(states), device=states.device)
    alike = answer @ answer.mT
    smooth = alike.softmax(-1)
    shares = (smooth @ alike @ smooth.mT).mean(1) + (~inside.bool()).to(states.dtype) * _HIDDEN
    attended = (shares.softmax(-1).unsqueeze(1) @ answer).squeeze(1)
    return torch.cat([answer[rows, first], answer[rows, last], attended], -1)


def agreement(first: Tensor, second: Tensor) -> Tensor:
    """The released weight of the second loss before its ReLU: products of vectors [B, 3 D], summed and divided by 3 D.

    The paper calls it a cosine; nothing is normalised, and it grows with the batch.
    """
    return (first * second).sum() / first.shape[-1]


def edge_loss(scores: Tensor, allowed: Tensor, gold: Tensor) -> Tensor:
    """Cross-entropy of an edge of the answers, the mean over pairs.

    Args:
        scores: [B, N].
        allowed: true where an answer may stand, [B, N].
        gold: columns, [B].
    """
    return F.cross_entropy(masked_scores(scores, allowed), gold)


def masked_scores(scores: Tensor, allowed: Tensor) -> Tensor:
    """Scores [B, N], 10,000 less where no answer may stand."""
    return scores + (~allowed.bool()).to(scores.dtype) * _HIDDEN
