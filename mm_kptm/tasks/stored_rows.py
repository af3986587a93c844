"""Rows of predictions, kept as their lines of JSON: a fraction of the memory of dictionaries."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import overload

from mm_kptm.tasks.example import Row


class StoredRows(Sequence[Row]):
    """Rows in a fixed order; each is parsed when it is looked at.

    >>> rows = StoredRows([{"id": "1", "correct": 1.0}, {"id": "2"}])
    >>> rows[0]["id"], len(rows.where(lambda row: "correct" in row))
    ('1', 1)
    """

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._lines = [stored(row) for row in rows]

    @classmethod
    def of_lines(cls, lines: list[bytes]) -> StoredRows:
        """Rows that :func:`stored` made lines of."""
        made = cls()
        made._lines = lines
        return made

    def where(self, condition: Callable[[Row], bool]) -> StoredRows:
        """The rows that fulfil a condition, without a copy of their lines."""
        return StoredRows.of_lines([line for line in self._lines if condition(json.loads(line))])

    def __len__(self) -> int:
        return len(self._lines)

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> StoredRows: ...

    def __getitem__(self, index: int | slice) -> Row | StoredRows:
        if isinstance(index, slice):
            return StoredRows.of_lines(self._lines[index])
        row: Row = json.loads(self._lines[index])
        return row

    def __iter__(self) -> Iterator[Row]:
        return map(json.loads, self._lines)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as of a list


def stored(row: Row) -> bytes:
    """The line of a row; a number that is not finite stays one."""
    return json.dumps(row, ensure_ascii=False).encode()
