"""Self-teaching: distillation from a first model's soft labels on translated text.

Shapes: B texts, P tokens, C classes.
"""

import torch.nn.functional as F
from torch import Tensor

from mm_kptm.errors import UserError


def class_teaching(scores: Tensor, teacher: Tensor, *, temperature: float = 0.1) -> Tensor:
    """KL divergence of scores [B, C] from a teacher's, averaged over texts and classes, times temperature squared.

    As in the released code of Fang et al. (2021, section 3.3); the mean over classes is its own.
    """
    return _divergence(scores, teacher, temperature).mean() * temperature**2


def token_teaching(scores: Tensor, teacher: Tensor, *, temperature: float = 1.0) -> Tensor:
    """KL divergence of scores [P, C] from a teacher's, averaged over tokens, times temperature squared."""
    return _divergence(scores, teacher, temperature).sum(-1).mean() * temperature**2


def edge_teaching(scores: Tensor, teacher: Tensor, *, temperature: float = 6.0) -> Tensor:
    """KL divergence of the scores of answers' first or last tokens, [P], over all tokens of a batch.

    As in the released code the softmax runs over the texts of the batch together, and the divergence is divided by the
    number of tokens, so that it depends on the rest of the batch.
    """
    return _divergence(scores, teacher, temperature).sum() / len(scores) * temperature**2


def _divergence(scores: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    if scores.shape != teacher.shape:
        raise UserError(f"scores have shape {list(scores.shape)}, but the teacher's have {list(teacher.shape)}")
    return F.kl_div((scores / temperature).log_softmax(-1), (teacher / temperature).softmax(-1), reduction="none")
