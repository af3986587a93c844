"""Files as feature formats share them: targets that appear when they are whole, rows of tabs, arrays in base64."""

from __future__ import annotations

import base64
import binascii
import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mm_kptm.errors import UserError
from mm_kptm.io.atomic import atomic_folder, atomic_path
from mm_kptm.io.text_lines import numbered_lines
from mm_kptm.vision.features.detections import Array

MOST_BYTES = 2**30  #: of one array inside a compressed archive; a larger one is a bomb, not an image's features


@contextmanager
def unfinished(path: Path, *, folder: bool = False) -> Iterator[Path]:
    """A place beside ``path`` to write to, moved there when all is written and removed when it is not.

    Raises:
        UserError: ``path`` exists already, the disk is full, or the place cannot be written.
    """
    if path.exists():
        raise UserError(f"{path} exists already; name a place that does not")
    with atomic_folder(path) if folder else atomic_path(path) as part:
        yield part


def first_row(path: Path, *, most: int = 2**26) -> list[str]:
    """The fields of the first line of a tab-separated file; none where it is not one."""
    if not path.is_file():
        return []
    with path.open("rb") as file:
        line = file.readline(most)
    try:
        return line.decode("utf-8").rstrip("\r\n").split("\t")
    except UnicodeDecodeError:
        return []


def rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    """Where each line of a tab-separated file stands (for complaints), and its fields by name.

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
    """A whole number that is not negative, out of a text or a number.

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
    """Numbers as base64 of their raw little-endian bytes, row by row."""
    return base64.b64encode(np.ascontiguousarray(array, dtype=kind).tobytes()).decode("ascii")


def decode(text: Any, kind: str, count: int, name: str, where: str, *, dim: int | None = None) -> Array:
    """Numbers out of base64 (or an array, taken as it is), [count] or [count, dim].

    Args:
        text: base64 of raw little-endian bytes.
        kind: dtype, as ``<f4``.
        count: rows.
        name: the field's name, for complaints.
        where: file and place, for complaints.
        dim: columns: None for an array of one dimension, -1 for as many as the bytes make.

    Raises:
        UserError: it is no base64, or its bytes do not make such rows.
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
    """The arrays of an ``.npz`` by name; the stray member that old numpy wrote for ``allow_pickle`` is left out.

    Raises:
        UserError: it is broken, holds pickles, or unfolds to more than a GiB.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if (size := sum(member.file_size for member in archive.infolist())) > MOST_BYTES:
                raise UserError(f"{where} unfolds to {size} bytes, more than an image's features can be")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files if name != "allow_pickle"}
    except UserError:
        raise
    except (ValueError, EOFError, OSError, KeyError, zipfile.BadZipFile, NotImplementedError) as error:
        raise UserError(f"{where} cannot be read as npz: {error}") from None
