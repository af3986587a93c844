"""Rows that the last layer has to compute.

Shapes: N row numbers.
"""

import torch
from torch import Tensor

from mm_kptm.batch import EVERY_ROW, NO_ROWS, Rows, row_numbers
from mm_kptm.batch.rows import copied, on_host


def union_of_rows(*groups: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Sorted union of groups of row numbers, and the index of each group's rows in it."""
    rows, inverse = torch.unique(torch.cat([on_host(group) for group in groups]), return_inverse=True)
    device = groups[0].device
    places = inverse.split([len(group) for group in groups])
    return copied(rows, device), tuple(copied(place, device) for place in places)


def rows_to_finish(total: int, device: torch.device, *groups: Rows) -> tuple[Rows, tuple[Rows, ...]]:
    """The rows out of ``total`` to compute so that all groups can be read, and each group's index into them.

    The first is :data:`~mm_kptm.batch.EVERY_ROW`, :data:`~mm_kptm.batch.NO_ROWS` or row numbers in ascending order.
    """
    if any(group is EVERY_ROW for group in groups):
        return EVERY_ROW, groups
    rows, places = union_of_rows(*(row_numbers(group, total, device) for group in groups))
    return (rows if len(rows) else NO_ROWS), places
