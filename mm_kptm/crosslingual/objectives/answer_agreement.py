"""Dual BERT's loss: the loss on the translation is weighted by the similarity of the two answers.

Shapes: B pairs, N padded length, D dim.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

_HIDDEN = -1e4


def answer_vector(states: Tensor, inside: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """Answer representation: states of both ends and a self-adaptive mean, [B, 3 D] (Cui et al. 2019, section 4.3).

    Args:
        states: padded states, [B, N, D]; those outside the answer count as zero, and padding takes part in the inner
            softmaxes, as in the released code.
        inside: true inside the answer, [B, N].
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
    """Weight of the second loss before its ReLU, as released: summed products of vectors [B, 3 D], divided by 3 D.

    The paper calls it a cosine; it is not normalised and grows with the batch.
    """
    return (first * second).sum() / first.shape[-1]


def edge_loss(scores: Tensor, allowed: Tensor, gold: Tensor) -> Tensor:
    """Cross-entropy of the start or end of the answers, averaged over pairs.

    Args:
        scores: logits, [B, N].
        allowed: true at positions allowed for answers, [B, N].
        gold: gold columns, [B].
    """
    return F.cross_entropy(masked_scores(scores, allowed), gold)


def masked_scores(scores: Tensor, allowed: Tensor) -> Tensor:
    """Logits [B, N] minus 10,000 at positions not allowed for answers."""
    return scores + (~allowed.bool()).to(scores.dtype) * _HIDDEN
