"""Kullback-Leibler losses against soft targets: answers, phrases of Flickr30k Entities, smoothed words of captions.

Shapes: P predictions, B questions, A answers, M regions, V vocabulary.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def answer_kl(logits: Tensor, scores: Tensor) -> Tensor:
    r"""Divergence of a softmax over all answers from the soft scores of each question, [B] (VisualBERT's loss for VQA).

    .. math:: \sum_a s_a (\log s_a - \log p_a)

    The scores [B, A] are not made to sum to one, as in the released code, so the least possible loss is not zero.
    """
    return F.kl_div(logits.log_softmax(1), scores.to(logits.dtype), reduction="none").sum(1)


def phrase_kl(scores: Tensor, targets: Tensor) -> Tensor:
    """Divergence of a softmax over the regions of an image from the boxes that fit each phrase, [P].

    The published training sums it over the phrases of a batch and divides by the number of texts.

    Args:
        scores: minus infinity where there is no region, [P, M].
        targets: uniform over the matching boxes, zero elsewhere, [P, M]; phrases without a match have loss 0.
    """
    logs = scores.log_softmax(1).masked_fill(scores.isinf(), 0.0)
    return F.kl_div(logs, targets.to(scores.dtype), reduction="none").sum(1)


def label_smoothing_kl(logits: Tensor, labels: Tensor, *, smoothing: float = 0.1, never: int | None = None) -> Tensor:
    r"""Divergence from smoothed labels, [P].

    .. math:: q_v = 1 - \epsilon \text{ for the label}, \quad q_v = \epsilon / n \text{ for the } n \text{ other words}

    Args:
        logits: [P, V].
        labels: [P].
        smoothing: the share of all other words together.
        never: a word that is never a target and gets no share (VLP: the padding, 0); its label costs nothing.
    """
    others = logits.shape[1] - 1 - (never is not None)
    targets = torch.full_like(logits, smoothing / others)
    targets.scatter_(1, labels[:, None], 1.0 - smoothing)
    if never is not None:
        targets[:, never] = 0.0
        targets = targets.masked_fill((labels == never)[:, None], 0.0)
    return F.kl_div(logits.log_softmax(1), targets, reduction="none").sum(1)
