"""Which rows the last layer has to finish.

Shapes: N numbers of rows.
"""

import torch
from torch import Tensor

from mm_kptm.batch import EVERY_ROW, NO_ROWS, Rows, row_numbers


def union_of_rows(*groups: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """All rows of some groups once and in order, and where each group finds its own among them."""
    rows, found = torch.unique(torch.cat(groups), return_inverse=True)
    return rows, found.split([len(group) for group in groups])


def rows_to_finish(total: int, device: torch.device, *groups: Rows) -> tuple[Rows, tuple[Rows, ...]]:
    """What has to be finished of ``total`` rows so that all groups can be read, and where each then stands.

    The first is :data:`~mm_kptm.batch.EVERY_ROW`, :data:`~mm_kptm.batch.NO_ROWS` or row numbers in ascending order.
    """
    if any(group is EVERY_ROW for group in groups):
        return EVERY_ROW, groups
    rows, places = union_of_rows(*(row_numbers(group, total, device) for group in groups))
    return (rows if len(rows) else NO_ROWS), places
