"""NumPy files from strangers: an array, or one sentence; what a header promises is compared with the file first."""

from __future__ import annotations

import math
import mmap
import tokenize
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from mm_kptm.errors import UserError

#: What numpy raises on damaged headers: it parses them as Python text.
UNREADABLE = (
    ValueError, EOFError, OSError, TypeError, SyntaxError, tokenize.TokenError, MemoryError, OverflowError,
    AttributeError, RecursionError, LookupError,
)  # fmt: skip
_MAX_HEADER = 10_000  #: characters
_PLACES = 1 << 9  #: read between two releases; the system maps up to 64 KB around each
_KEPT_BYTES = 1 << 25  #: maps that are smaller together stay


def read_array(path: str | Path, *, mmap: bool = False) -> NDArray[Any]:
    """Read a ``.npy`` file of numbers.

    Args:
        path: the file.
        mmap: map the file into memory, read-only, in place of reading it.

    Raises:
        UserError: no such file, no array of numbers (an archive, objects), or fewer bytes than the header promises.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            _check_header(file, path.stat().st_size)
        array: NDArray[Any] = np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{path} was to be read, but there is no such file") from None
    except UNREADABLE as error:
        raise UserError(f"{path} is no whole array of numbers ({_sentence(error)}); fetch it again") from None
    return array


def release_pages(arrays: Iterable[NDArray[Any]]) -> None:
    """Give back the pages of mapped files that were read: they stay in the system's cache, not in the process.

    Args:
        arrays: mapped ones, or views of them; others are left alone.
    """
    if not hasattr(mmap, "MADV_DONTNEED"):  # not on every system
        return
    for pages in _maps(arrays):
        pages.madvise(mmap.MADV_DONTNEED)


class MappedReads:
    """Count of places read in mapped arrays: a process that reads all over a large file keeps few of its pages."""

    def __init__(self) -> None:
        self._places = 0

    def add(self, places: int, arrays: Iterable[NDArray[Any]]) -> None:
        """Count ``places`` read in each of the arrays; release their pages when there may be many."""
        arrays = list(arrays)
        self._places += places * len(arrays)
        if self._places >= _PLACES:
            self._places = 0
            if sum(map(len, _maps(arrays))) > _KEPT_BYTES:
                release_pages(arrays)


def _maps(arrays: Iterable[NDArray[Any]]) -> list[mmap.mmap]:
    """The maps of files that some of the arrays are views of, each once."""
    found: dict[int, mmap.mmap] = {}
    for array in arrays:
        base: object = array
        while isinstance(base, np.ndarray):
            base = base.base
        if isinstance(base, mmap.mmap):
            found[id(base)] = base
    return list(found.values())


def _check_header(file: IO[bytes], size: int) -> None:
    """Raise ``ValueError`` unless the header is that of numbers which fill the rest of the file."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, kind = np.lib.format.read_array_header_1_0(file, max_header_size=_MAX_HEADER)
    elif version == (2, 0):
        shape, _, kind = np.lib.format.read_array_header_2_0(file, max_header_size=_MAX_HEADER)
    else:
        raise ValueError(f"version {version} of the format is not read")
    if kind.hasobject:
        raise ValueError("it holds Python objects")
    if any(not isinstance(side, int) or isinstance(side, bool) or side < 0 for side in shape):
        raise ValueError(f"its shape is {shape}")
    promised, there = math.prod(shape) * kind.itemsize, size - file.tell()
    if promised > there:
        raise ValueError(f"its header promises {promised} bytes and {there} follow")


def _sentence(error: BaseException) -> str:
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
