"""Triples by id, one by one or as the rows of an array."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray


class IndexedTriple(NamedTuple):
    """Head, relation and tail as ids."""

    head: int
    relation: int
    tail: int


class TripleRows(Sequence[IndexedTriple]):
    """The rows of an array as triples, each made when it is asked for; the array may be mapped from a file.

    Args:
        rows: head, relation and tail, [M, 3].
    """

    def __init__(self, rows: NDArray[np.integer]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> IndexedTriple: ...
    @overload
    def __getitem__(self, index: slice) -> TripleRows: ...
    def __getitem__(self, index: int | slice) -> IndexedTriple | TripleRows:
        if isinstance(index, slice):
            return TripleRows(self.rows[index])
        return IndexedTriple(*self.rows[index].tolist())

    def __iter__(self) -> Iterator[IndexedTriple]:
        return (IndexedTriple(*row.tolist()) for row in self.rows)


def as_rows(triples: Iterable[IndexedTriple] | NDArray[np.integer]) -> NDArray[np.integer]:
    """Triples as the rows of an array, [M, 3]; an array stays as it is."""
    if isinstance(triples, TripleRows):
        return triples.rows
    if isinstance(triples, np.ndarray):
        return triples
    return np.array([*triples], dtype=np.int64).reshape(-1, 3)
