"""Random draws that are the same bytes on every machine and with every version of numpy.

Numpy promises that the raw words of a seeded ``PCG64`` never change, but not that the numbers a ``Generator``
makes of them stay the same. So everything here is made of raw words by integer arithmetic.
"""

from math import prod
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from mm_kptm.errors import UserError

Integers = NDArray[np.int64]


def pick(word: int, bound: int) -> int:
    """The whole number below ``bound`` that a 32-bit word stands for.

    >>> pick(0, 6), pick(2**32 - 1, 6)
    (0, 5)
    """
    return word * bound >> 32


class RandomStream:
    """A stream of random integers, named by a path of numbers and words.

    >>> int(RandomStream(0, "dice").one(6)) == int(RandomStream(0, "dice").one(6))
    True
    """

    def __init__(self, *path: int | str) -> None:
        for step in path:
            if isinstance(step, int) and step < 0:
                raise UserError(f"a seed of {step} was asked for, but seeds cannot be negative; use 0 or more")
        self.path = path
        entropy = [crc32(step.encode()) if isinstance(step, str) else step for step in path]
        self._bits = np.random.PCG64(np.random.SeedSequence(entropy))

    def child(self, *path: int | str) -> "RandomStream":
        """A stream of its own, which does not depend on how much was drawn from this one."""
        return RandomStream(*self.path, *path)

    def words(self, *shape: int) -> Integers:
        """Independent 32-bit words as int64 of the given shape."""
        raw = self._bits.random_raw(prod(shape))
        return (np.asarray(raw, dtype=np.uint64) >> np.uint64(32)).astype(np.int64).reshape(shape)

    def below(self, bound: int | Integers, *shape: int) -> Integers:
        """Integers from 0 up to ``bound`` (excluded), which may differ from place to place."""
        return (self.words(*shape) * bound) >> 32

    def one(self, bound: int) -> int:
        """A single integer below ``bound``."""
        return int(self.below(bound, 1)[0])

    def orders(self, rows: int, length: int) -> Integers:
        """A random order of ``length`` things for each row, [rows, length]."""
        return np.argsort(self.words(rows, length), axis=1, kind="stable").astype(np.int64)
