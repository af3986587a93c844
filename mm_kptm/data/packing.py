"""Packed sequences: many sequences of different lengths end to end in a few arrays.

Shapes: S sequences, R rows of all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mm_kptm.io.arrays import MappedReads

Columns = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True, eq=False)
class Packed:
    """Columns of numbers, one per row, with the offsets of the sequences."""

    offsets: NDArray[np.int64]  #: [S + 1]
    columns: Columns  #: each [R]

    @classmethod
    def of(cls, **columns: Sequence[Sequence[int]]) -> Packed:
        """From one list of lists per column; the lists of a sequence are equally long in all of them.

        >>> Packed.of(ids=[[5, 6], [7]]).take([1, 0])[0]["ids"].tolist()
        [7, 5, 6]
        """
        lengths = np.array([len(sequence) for sequence in next(iter(columns.values()))], dtype=np.int64)
        return cls(
            np.concatenate([np.zeros(1, np.int64), lengths.cumsum()]),
            {
                name: np.fromiter((number for sequence in column for number in sequence), np.int64, int(lengths.sum()))
                for name, column in columns.items()
            },
        )

    @classmethod
    def joined(cls, *parts: Packed) -> Packed:
        """Concatenation of the parts; a column that some part lacks is left out."""
        ends = np.cumsum([0, *(part.offsets[-1] for part in parts)])
        offsets = [part.offsets[:-1] + end for part, end in zip(parts, ends[:-1], strict=True)]
        shared = [name for name in parts[0].columns if all(name in part.columns for part in parts)]
        return cls(
            np.concatenate([*offsets, ends[-1:]]),
            {name: np.concatenate([part.columns[name] for part in parts]) for name in shared},
        )

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Rows of every sequence, [S]."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def take(self, sequences: ArrayLike) -> tuple[dict[str, NDArray[np.generic]], tuple[int, ...]]:
        """The columns of the given sequences, end to end in the given order, and their lengths."""
        rows, lengths = gather(self.offsets, np.asarray(sequences, dtype=np.int64))
        taken = {name: column[rows] for name, column in self.columns.items()}
        self.mark_read(len(lengths))
        return taken, tuple(lengths.tolist())

    def mark_read(self, places: int) -> None:
        """Count places whose rows were read, here or elsewhere: mapped files then give back their pages."""
        self._reads.add(places, (self.offsets, *self.columns.values()))

    @cached_property
    def _reads(self) -> MappedReads:
        return MappedReads()

    def to_dense(
        self, sequences: ArrayLike, places: str, worth: str | None = None, *, width: int
    ) -> NDArray[np.float32]:
        """The given sequences as rows of ``width`` numbers: ``worth``, or 1, at ``places``, 0 elsewhere.

        >>> Packed.of(place=[[2], [0, 1]], tenths=[[9], [3, 10]]).to_dense([1, 0], "place", "tenths", width=3).tolist()
        [[3.0, 10.0, 0.0], [0.0, 0.0, 9.0]]
        """
        columns, lengths = self.take(sequences)
        wide = np.zeros((len(lengths), width), np.float32)
        wide[np.repeat(np.arange(len(lengths)), lengths), columns[places]] = 1 if worth is None else columns[worth]
        return wide


@dataclass(frozen=True, eq=False)
class PackedTexts(Packed):
    """Texts whose positions count from 0, with columns of whole texts; what follows from these is made when it is read.

    >>> texts = PackedTexts(np.array([0, 2, 3]), {"ids": np.array([7, 8, 9])}, {"language": np.array([4, 5])})
    >>> {name: column.tolist() for name, column in texts.take([1, 0])[0].items()}
    {'ids': [9, 7, 8], 'positions': [0, 0, 1], 'language': [5, 4, 4]}
    """

    of_texts: Columns = field(default_factory=dict)  #: each [S]

    def take(self, sequences: ArrayLike) -> tuple[dict[str, NDArray[np.generic]], tuple[int, ...]]:
        """As :meth:`Packed.take`, with ``positions`` and the columns of texts by row."""
        chosen = np.asarray(sequences, dtype=np.int64)
        columns, lengths = super().take(chosen)
        ends = np.cumsum(lengths, dtype=np.int64)
        total = int(ends[-1]) if len(ends) else 0
        columns["positions"] = np.arange(total) - np.repeat(ends - lengths, lengths)
        return columns | {name: np.repeat(column[chosen], lengths) for name, column in self.of_texts.items()}, lengths


def gather(offsets: NDArray[np.int64], sequences: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The row numbers of the given sequences, end to end, and how many each has."""
    firsts = offsets[sequences]
    lengths = offsets[sequences + 1] - firsts
    ends = lengths.cumsum()
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) + np.repeat(firsts - ends + lengths, lengths), lengths
