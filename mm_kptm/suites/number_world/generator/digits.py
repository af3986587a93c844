"""Handwritten digits of scikit-learn in three disjoint blocks.

Source: Alpaydin and Kaynak 1998, "Optical recognition of handwritten digits" (UCI), the 1,797 scans of its test
half, read with ``sklearn.datasets.load_digits``: 8 x 8 pixels of 17 grey levels (0 paper, 16 ink). Neighbouring
scans are often by the same writer, so the blocks are contiguous with gaps of forty scans between them.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from mm_kptm.errors import UserError

#: First scan and the one after the last; the gaps are unused.
BLOCKS = {"train": (0, 1200), "dev": (1240, 1440), "test": (1480, 1797)}


@dataclass(frozen=True, eq=False)
class Scans:
    """Scans of one block."""

    images: NDArray[np.uint8]  #: grey levels 0-16, [N, 8, 8]
    labels: NDArray[np.uint8]  #: the digit, [N]
    table: NDArray[np.int64]  #: scan indices of each digit, repeated to fill the row, [10, M]
    counts: NDArray[np.int64]  #: number of scans of each digit, [10]


@cache
def scans(block: str) -> Scans:
    """Load the block ``train``, ``dev`` or ``test``; ``UserError`` for another name."""
    if block not in BLOCKS:
        raise UserError(f"there is no block of scans called {block!r}; the blocks are {', '.join(BLOCKS)}")
    first, stop = BLOCKS[block]
    from sklearn.datasets import load_digits  # imported late: it takes a second, and settings do not need it

    digits = load_digits()
    images = digits.images[first:stop].astype(np.uint8)
    labels = digits.target[first:stop].astype(np.uint8)
    counts = np.bincount(labels, minlength=10).astype(np.int64)
    table = np.stack([np.resize(np.flatnonzero(labels == digit), int(counts.max())) for digit in range(10)])
    return Scans(images, labels, table.astype(np.int64), counts)
