"""Safe reader of pickled records: arrays, strings and numbers, no code execution.

No class named in the file is ever imported. The few names that numpy writes are mapped to the readers below, which take
a dtype from a fixed list and numbers from bytes; everything else is refused.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from mm_kptm.errors import UserError
from mm_kptm.io.arrays import UNREADABLE, read_array

NUMBERS = frozenset({"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"})
OBJECT = "O8"  #: dtype of an object array, which becomes a list
_NDARRAY = "the class of arrays"  # a placeholder instead of the class, so that a file cannot call it


def loads(data: bytes, source: str) -> Any:
    """Load dicts, lists, tuples, strings, bytes, numbers and numeric arrays from a pickle.

    Args:
        data: a pickle.
        source: file, or key in it, for messages.

    Raises:
        UserError: the pickle holds anything else, or is damaged.
    """
    try:
        return _plain(_Reader(io.BytesIO(data), encoding="latin1").load())
    except UserError as error:
        raise UserError(f"{source} is refused: {error}") from None
    except Exception as error:  # a damaged pickle can raise anything
        raise UserError(f"{source} is no pickle that can be read: {error}") from None


def load_npy(path: Path) -> Any:
    """Load an ``.npy`` file: an array, or the record in a pickled 0-d object array (ViLBERT's dict).

    Raises:
        UserError: the file is damaged, or holds anything but arrays, strings and numbers.
    """
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            if version not in {(1, 0), (2, 0)}:
                raise ValueError(f"version {version} of the format is unknown")
            header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = header(file)
            if not dtype.hasobject:
                return read_array(path)
            if shape != ():
                raise ValueError(f"an array of objects of shape {list(shape)} is no record")
            wrapped = loads(file.read(), str(path))
    except UserError:
        raise
    except UNREADABLE as error:
        raise UserError(f"{path} cannot be read as an array: {error}") from None
    if not isinstance(wrapped, list) or len(wrapped) != 1:
        raise UserError(f"{path} must wrap one record in an array of no dimensions")
    return wrapped[0]


class _Kind:
    """Stand-in for a pickled dtype: its code, then its byte order as state."""

    def __init__(self, code: str, align: bool = False, copy: bool = False) -> None:
        if isinstance(code, bytes):
            code = code.decode("latin1")
        if code not in NUMBERS and code != OBJECT:
            raise UserError(f"it holds values of kind {code!r}; only numbers, texts and arrays of numbers are read")
        self.code, self.order = code, "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = ">" if state[1] == ">" else "<"

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.code)


class _Array:
    """Stand-in for a pickled array: empty, then filled by its state."""

    def __init__(self, kind: object, *_: object) -> None:
        if kind != _NDARRAY:
            raise UserError("it rebuilds an array of a class that is not numpy's own")
        self.value: Any = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, by_column, raw = state
        self.value = _array(raw, kind, shape, "F" if by_column else "C")


def _array(raw: Any, kind: _Kind, shape: tuple[int, ...], order: str = "C") -> Any:
    """Array from raw bytes; a list for an object array."""
    if kind.code == OBJECT:
        return list(raw)
    data = raw.encode("latin1") if isinstance(raw, str) else bytes(raw)
    return np.frombuffer(data, kind.dtype).reshape(shape, order="F" if order == "F" else "C")


def _scalar(kind: _Kind, raw: bytes | str) -> Any:
    return _array(raw, kind, ()).item()


def _bytes(text: str, encoding: str = "latin1") -> bytes:
    """Bytes as pickle protocol 2 writes them, via a latin-1 string."""
    if encoding != "latin1":
        raise UserError(f"it encodes bytes as {encoding!r}")
    return text.encode("latin1")


_ADMITTED: dict[tuple[str, str], Any] = {("numpy", "dtype"): _Kind, ("numpy", "ndarray"): _NDARRAY}
# empty bytes are written as a call of ``bytes``
_ADMITTED |= {("_codecs", "encode"): _bytes, ("__builtin__", "bytes"): lambda: b""}
for _core in ("numpy.core", "numpy._core"):
    _ADMITTED |= {
        (f"{_core}.multiarray", "_reconstruct"): _Array,
        (f"{_core}.multiarray", "scalar"): _scalar,
        (f"{_core}.numeric", "_frombuffer"): _array,
    }


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise UserError(
                f"it asks to run {module}.{name}, and a pickle may run any code; only arrays, texts and numbers are "
                "read, so write the file in another format"
            ) from None

    def persistent_load(self, pid: Any) -> Any:
        raise UserError("it refers to values outside the file")


def _plain(value: Any) -> Any:
    """Final value, with stand-ins replaced by arrays."""
    if isinstance(value, _Array):
        return _plain(value.value)
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(item) for item in value)
    if value is None or isinstance(value, str | bytes | bool | int | float | np.ndarray):
        return value
    raise UserError(f"it holds a {type(value).__name__}; only arrays, texts and numbers are read")
