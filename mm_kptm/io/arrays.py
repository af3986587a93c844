"""NumPy files from strangers: an array, or one sentence; what a header promises is compared with the file first."""

from __future__ import annotations

import math
import tokenize
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
