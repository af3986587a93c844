"""Appendable ``.npy`` files that can be resumed after a kill.

Shapes: R rows so far.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mm_kptm.errors import UserError
from mm_kptm.vision.features.detections import Array

MOST_ROWS = 10**15  #: number of rows in the header of an unfinished file, which marks it as such


class GrowingArray:
    """``.npy`` file open for appending; its header is valid once it is closed.

    Args:
        path: the file.
        kind: dtype such as ``<f2``.
        width: number of columns; None for a 1-D array.
        rows: number of existing rows to keep; the rest of the file is truncated.

    Raises:
        UserError: the file does not hold that many rows.
    """

    def __init__(self, path: Path, kind: str, width: int | None, *, rows: int = 0) -> None:
        self.path = path
        self._kind, self._width, self._rows = kind, width, rows
        self._file: BinaryIO = path.open("r+b" if rows else "w+b")
        self._start = self._header(MOST_ROWS)
        end = self._start + rows * np.dtype(kind).itemsize * (1 if width is None else width)
        if rows and path.stat().st_size < end:
            raise UserError(f"{path} is shorter than the {rows} rows that were written to it; begin again")
        self._file.truncate(end)
        self._file.seek(end)

    def append(self, rows: Array) -> None:
        """Append rows, [N] or [N, width]."""
        self._file.write(np.ascontiguousarray(rows, dtype=self._kind).tobytes())
        self._rows += len(rows)

    def flush(self) -> None:
        """Flush to the operating system, so that the data survive this process."""
        self._file.flush()

    def close(self) -> None:
        """Write the header and close the file."""
        end = self._header(self._rows)
        self._file.close()
        if end != self._start:
            raise RuntimeError(f"the header of {self.path} grew with the number of rows")

    def _header(self, rows: int) -> int:
        shape = (rows,) if self._width is None else (rows, self._width)
        self._file.seek(0)  # numpy pads the header for any number of rows
        np.lib.format.write_array_header_1_0(self._file, {"descr": self._kind, "fortran_order": False, "shape": shape})
        return self._file.tell()


def row_slices(path: Path, counts: Array) -> Iterator[Array]:
    """Iterate over consecutive slices of ``counts[i]`` rows of an ``.npy`` file, read sequentially.

    Unlike a memory map, it leaves no file pages in the memory of the process.

    Raises:
        UserError: the file is no array of rows, or is truncated.
    """
    with path.open("rb") as file:
        try:
            np.lib.format.read_magic(file)
            shape, by_column, dtype = np.lib.format.read_array_header_1_0(file)
        except (ValueError, EOFError) as error:
            raise UserError(f"{path} cannot be read as an array: {error}") from None
        if dtype.hasobject or by_column:
            raise UserError(f"{path} must hold numbers row by row")
        width = int(np.prod(shape[1:], dtype=np.int64))
        for count in counts:
            flat: np.ndarray[Any, Any] = np.fromfile(file, dtype, int(count) * width)
            if flat.size != count * width:
                raise UserError(f"{path} ends after fewer rows than its header says")
            yield flat.reshape(int(count), *shape[1:])
