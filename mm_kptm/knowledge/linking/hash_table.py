"""Hash table from 64-bit keys to numbers, vectorised: open addressing in two arrays.

Shapes: K keys that have a number, Q keys that are asked for.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]
Numbers = NDArray[np.int32]

MISSING = -1
_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: what was near is far apart


class NumberTable:
    """Number of each key; :data:`MISSING` for an unknown key.

    Args:
        keys: distinct, [K].
        numbers: of the keys, none negative, [K].
    """

    def __init__(self, keys: Keys, numbers: Numbers) -> None:
        bits = max(4, (2 * len(keys)).bit_length())  # between a quarter and a half of the slots are taken
        self._shift = np.uint64(64 - bits)
        self._last = (1 << bits) - 1
        self._keys: Keys = np.zeros(1 << bits, dtype=np.uint64)
        self._numbers: Numbers = np.full(1 << bits, MISSING, dtype=np.int32)
        rows, slots = np.arange(len(keys)), self._slots(keys)
        while len(rows):
            free = self._numbers[slots] == MISSING
            self._numbers[slots[free]] = rows[free]
            settled = self._numbers[slots] == rows  # of several that came to one slot, one
            self._keys[slots[settled]] = keys[rows[settled]]
            rows, slots = rows[~settled], self._next(slots[~settled])
        taken = self._numbers != MISSING
        self._numbers[taken] = numbers[self._numbers[taken]]

    def __call__(self, keys: Keys) -> Numbers:
        """Look up keys [Q]: their numbers, [Q]."""
        slots = self._slots(keys)
        numbers = self._numbers[slots]
        open_ = np.flatnonzero((self._keys[slots] != keys) & (numbers != MISSING))
        slots = slots[open_]
        while len(open_):
            slots = self._next(slots)
            numbers[open_] = found = self._numbers[slots]
            further = (self._keys[slots] != keys[open_]) & (found != MISSING)
            open_, slots = open_[further], slots[further]
        return numbers

    def _slots(self, keys: Keys) -> NDArray[np.int64]:
        return ((keys * _SPREAD) >> self._shift).astype(np.int64)

    def _next(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        return (slots + 1) & self._last
