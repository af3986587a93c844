"""Cross-entropy over a large vocabulary, some rows at a time, so that the scores of all rows never exist together.

The loss is exact. Of XLM-R's 250,000 pieces and 10,000 masked rows the scores alone take 10 GB in float32, and three
such tensors live at once.

Shapes: P rows, D dim, V vocabulary.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

MAX_SCORES = 1 << 28  #: scores of the rows that are computed together: 1 GB in float32


def vocabulary_losses(head: nn.Module, rows: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of every row, [P]; above ``MAX_SCORES`` scores in pieces, which a backward pass computes again.

    Args:
        head: from states [P, D] to scores [P, V].
        rows: states, [P, D].
        labels: the right id of each, [P].
    """
    width = max((max(one.shape) for one in head.parameters() if one.dim()), default=1)
    if len(rows) * width <= MAX_SCORES:
        return _losses(head, rows, labels)
    size = max(1, MAX_SCORES // width)
    pieces = zip(rows.split(size), labels.split(size), strict=True)
    return torch.cat([checkpoint(_losses, head, some, gold, use_reentrant=False) for some, gold in pieces])


def _losses(head: nn.Module, rows: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(head(rows), labels, reduction="none")
