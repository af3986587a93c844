"""Pooling of the rows of each sequence into one vector.

Shapes: T rows, B sequences, D dim.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from mm_kptm.batch import SequenceLayout

Pooling = Callable[[Tensor, SequenceLayout], Tensor]


def first(rows: Tensor, layout: SequenceLayout) -> Tensor:
    """The first row of every sequence, [B, D]."""
    return rows[layout.starts(rows.device)]


def last(rows: Tensor, layout: SequenceLayout) -> Tensor:
    """The last row of every sequence, [B, D]."""
    return rows[layout.cu_seqlens(rows.device)[1:].long() - 1]


def mean(rows: Tensor, layout: SequenceLayout) -> Tensor:
    """The mean over the rows of every sequence, [B, D]."""
    return torch.segment_reduce(rows, "mean", lengths=layout.cu_seqlens(rows.device).long().diff(), axis=0)


def maximum(rows: Tensor, layout: SequenceLayout) -> Tensor:
    """The element-wise maximum over the rows of every sequence, [B, D]."""
    return torch.segment_reduce(rows, "max", lengths=layout.cu_seqlens(rows.device).long().diff(), axis=0)


#: Poolings by the names of published options.
POOLINGS: dict[str, Pooling] = {"first": first, "mean": mean, "max": maximum, "last": last}
