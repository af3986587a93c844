"""Shared file utilities of feature formats: atomic targets, TSV rows, base64 arrays, safe npz."""

from __future__ import annotations

import base64
import binascii
import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mm_kptm.errors import UserError
from mm_kptm.io.arrays import UNREADABLE
from mm_kptm.io.atomic import atomic_folder, atomic_path
from mm_kptm.io.text_lines import numbered_lines
from mm_kptm.vision.features.detections import Array

MOST_BYTES = 2**30  #: of one array inside a compressed archive; a larger one is a decompression bomb


@contextmanager
def unfinished(path: Path, *, folder: bool = False) -> Iterator[Path]:
    """Context manager: temporary path beside ``path``, renamed to it on success and removed on failure.

    Raises:
        UserError: ``path`` exists already, the disk is full, or the location cannot be written.
    """
    if path.exists():
        raise UserError(f"{path} exists already; name a place that does not")
    with atomic_folder(path) if folder else atomic_path(path) as part:
        yield part


def first_row(path: Path, *, most: int = 2**26) -> list[str]:
    """Fields of the first line of a tab-separated file; empty if it is none."""
    if not path.is_file():
        return []
    with path.open("rb") as file:
        line = file.readline(most)
    try:
        return line.decode("utf-8").rstrip("\r\n").split("\t")
    except UnicodeDecodeError:
        return []


def rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    """Iterate over (location for messages, fields by name) of the lines of a tab-separated file.

    Raises:
        UserError: a line has another number of fields.
    """
    for number, line in numbered_lines(path):
        if not line.strip():
            continue
        values = line.split("\t")
        if len(values) != len(columns):
            raise UserError(
                f"{path}, line {number} has {len(values)} fields; {len(columns)} were expected: {', '.join(columns)}"
            )
        yield f"{path}, line {number}", dict(zip(columns, values, strict=True))


def whole(text: Any, name: str, where: str) -> int:
    """Parse a non-negative integer from a string or number.

    Raises:
        UserError: it is none.
    """
    try:
        number = int(text)
    except (ValueError, TypeError, OverflowError):
        raise UserError(f"{where}: {name} is {str(text)[:40]!r}, which is no whole number") from None
    if number < 0 or number > 2**40 or number != float(text):
        raise UserError(f"{where}: {name} is {str(text)[:40]}, which is no count or size")
    return number


def encode(array: Array, kind: str) -> str:
    """Encode an array as base64 of its little-endian bytes in C order."""
    return base64.b64encode(np.ascontiguousarray(array, dtype=kind).tobytes()).decode("ascii")


def decode(text: Any, kind: str, count: int, name: str, where: str, *, dim: int | None = None) -> Array:
    """Decode base64 (or pass an array) to [count] or [count, dim].

    Args:
        text: base64 of little-endian bytes.
        kind: dtype such as ``<f4``.
        count: number of rows.
        name: field name, for messages.
        where: location, for messages.
        dim: number of columns; None for a 1-D array, -1 to infer it.

    Raises:
        UserError: invalid base64, or the wrong number of bytes.
    """
    if isinstance(text, np.ndarray):
        flat = text.reshape(-1)
    else:
        try:
            raw = base64.b64decode(text, validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise UserError(f"{where}: {name} is no base64 text") from None
        if len(raw) % np.dtype(kind).itemsize:
            raise UserError(f"{where}: {name} is {len(raw)} bytes long, which does not make whole {kind[1:]} numbers")
        flat = np.frombuffer(raw, kind)
    wide = 1 if dim is None else dim
    if wide < 0:
        wide = flat.size // count if count else 0
    if flat.size != count * wide:
        raise UserError(f"{where}: {name} holds {flat.size} numbers, which do not make {count} rows of regions")
    return flat if dim is None else flat.reshape(count, wide)


def load_npz(data: bytes, where: str) -> dict[str, Array]:
    """Load the arrays of an ``.npz`` by name, without the stray ``allow_pickle`` member of old numpy versions.

    Raises:
        UserError: it is damaged, holds pickles, or decompresses to more than a GiB.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if (size := sum(member.file_size for member in archive.infolist())) > MOST_BYTES:
                raise UserError(f"{where} unfolds to {size} bytes, more than an image's features can be")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files if name != "allow_pickle"}
    except UserError:
        raise
    except (*UNREADABLE, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
        raise UserError(f"{where} cannot be read as npz: {error}") from None
