"""Which rows the last layer has to finish.

Shapes: N numbers of rows.
"""

import torch
from torch import Tensor

from mm_kptm.batch import ALL, NONE, Rows


def numbers(rows: Rows, total: int, device: torch.device) -> Tensor:
    """The row numbers, [N], that ``rows`` selects among ``total`` ones."""
    return torch.arange(total, device=device)[rows] if isinstance(rows, slice) else rows


def compact(*groups: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """All rows of some groups once and in order, and where each group finds its own among them."""
    rows, found = torch.unique(torch.cat(groups), return_inverse=True)
    return rows, found.split([len(group) for group in groups])


def finished(total: int, device: torch.device, *groups: Rows) -> tuple[Rows, tuple[Rows, ...]]:
    """What has to be finished of ``total`` rows so that all groups can be read, and where each then stands.

    The first is :data:`~mm_kptm.batch.ALL`, :data:`~mm_kptm.batch.NONE` or row numbers in ascending order.
    """
    if any(group is ALL for group in groups):
        return ALL, groups
    rows, places = compact(*(numbers(group, total, device) for group in groups))
    return (rows if len(rows) else NONE), places
