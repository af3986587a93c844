"""One whole state of an index on disk: a folder that is written once and never changed.

Shapes: N pictures in the order of their names, D dim.

==========================  =======================================================================
``generation.json``         :class:`Facts`: the model, the folder of pictures, how many there are
``vectors.f32``             [N, D], L2-normalised
``digests.u8``              SHA-256 of each file, [N, 32]
``stamps.i64``              size, time of modification and of change of each file, [N, 3]
``names.bytes``             names relative to the folder, end to end; ``names.ends`` holds where each ends
``thumbnails.bytes``        JPEG files, end to end; ``thumbnails.ends``
==========================  =======================================================================

Everything but the facts is memory-mapped: opening an index of a million pictures reads almost nothing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import numpy as np
from numpy.typing import NDArray

from mm_kptm.errors import UserError
from mm_kptm.io.atomic import write_json
from mm_kptm.io.records import Record, expected, read_json

FACTS = "generation.json"
FORM = 1  #: of the folder; counts up when its files change
DIGEST_BYTES = 32
Stamp = tuple[int, int, int]  #: size in bytes, times of modification and change in nanoseconds


@dataclass(frozen=True)
class Skipped:
    """A file that is no readable picture; it is read again when it changes."""

    name: str
    reason: str
    stamp: Stamp


@dataclass(frozen=True)
class Facts:
    """What holds for a whole generation."""

    model: str  #: path of the run or saved model
    fingerprint: str  #: of its weights
    pictures: str  #: absolute path of the folder that was indexed
    count: int
    dim: int
    skipped: tuple[Skipped, ...] = ()


class ByteStrings:
    """Sorted or unsorted byte strings on disk, memory-mapped."""

    def __init__(self, folder: Path, name: str, count: int) -> None:
        self._ends = mapped(folder / f"{name}.ends", np.int64, (count,))
        size = int(self._ends[-1])
        self._bytes = mapped(folder / f"{name}.bytes", np.uint8, (size,)) if size else np.empty(0, np.uint8)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, row: int) -> bytes:
        start = int(self._ends[row - 1]) if row else 0
        return self._bytes[start : int(self._ends[row])].tobytes()

    def find(self, wanted: bytes) -> int | None:
        """The row of a byte string, where they are sorted; None where it is not among them."""
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self[middle] < wanted:
                low = middle + 1
            else:
                high = middle
        return low if low < len(self) and self[low] == wanted else None


@dataclass(frozen=True, eq=False)
class Generation:
    """An open generation."""

    folder: Path
    facts: Facts
    vectors: NDArray[np.float32]
    digests: NDArray[np.uint8]
    stamps: NDArray[np.int64]
    names: ByteStrings
    thumbnails: ByteStrings

    def __len__(self) -> int:
        return self.facts.count

    @classmethod
    def open(cls, folder: Path) -> Generation:
        """Open a generation.

        Raises:
            UserError: a file is missing, cut short or of another version.
            FileNotFoundError: the folder is gone, as when it has been replaced meanwhile.
        """
        facts = _read_facts(folder / FACTS)
        count = facts.count
        return cls(
            folder,
            facts,
            mapped(folder / "vectors.f32", np.float32, (count, facts.dim)),
            mapped(folder / "digests.u8", np.uint8, (count, DIGEST_BYTES)),
            mapped(folder / "stamps.i64", np.int64, (count, 3)),
            ByteStrings(folder, "names", count),
            ByteStrings(folder, "thumbnails", count),
        )

    def name(self, row: int) -> str:
        """The name of a picture, relative to the folder; bytes that are no UTF-8 as lone surrogates."""
        return os.fsdecode(self.names[row])

    def row(self, name: str) -> int | None:
        """The row of a picture; None where no picture of the index has that name."""
        try:
            return self.names.find(os.fsencode(name))
        except UnicodeEncodeError:
            return None

    def stamp(self, row: int) -> Stamp:
        """Size and times of a file when it was indexed."""
        size, modified, changed = self.stamps[row].tolist()
        return size, modified, changed


class GenerationWriter:
    """Writes a generation row by row, in the order of the names; a context manager.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """

    _FILES = (
        "vectors.f32", "digests.u8", "stamps.i64", "names.bytes", "names.ends", "thumbnails.bytes", "thumbnails.ends",
    )  # fmt: skip

    def __init__(self, folder: Path, dim: int) -> None:
        self._folder, self._dim = folder, dim
        self._open = ExitStack()
        self._files = {name: self._open.enter_context((folder / name).open("xb")) for name in self._FILES}
        self._ends = {"names": 0, "thumbnails": 0}
        self._count = 0

    def __enter__(self) -> GenerationWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def add(self, name: str, digest: bytes, stamp: Stamp, vector: NDArray[np.float32], thumbnail: bytes) -> None:
        """Write the next picture."""
        if vector.shape != (self._dim,):
            raise ValueError(f"a vector of {vector.shape} was written among vectors of {self._dim}")
        self._files["vectors.f32"].write(np.ascontiguousarray(vector, np.float32).tobytes())
        self._files["digests.u8"].write(digest)
        self._files["stamps.i64"].write(np.array(stamp, np.int64).tobytes())
        for strings, value in (("names", os.fsencode(name)), ("thumbnails", thumbnail)):
            self._ends[strings] += len(value)
            self._files[f"{strings}.bytes"].write(value)
            self._files[f"{strings}.ends"].write(np.int64(self._ends[strings]).tobytes())
        self._count += 1

    def finish(self, model: str, fingerprint: str, pictures: Path, skipped: Sequence[Skipped]) -> None:
        """Write the facts, after which the folder is whole."""
        self._open.close()
        quoted = tuple(replace(one, name=_quoted(one.name)) for one in skipped)
        facts = Facts(_quoted(model), fingerprint, _quoted(str(pictures)), self._count, self._dim, quoted)
        write_json(self._folder / FACTS, {"form": FORM, **asdict(facts)}, indent=1, ascii_only=True)


def mapped(path: Path, dtype: type[np.generic], shape: tuple[int, ...]) -> NDArray[Any]:
    """Map a file of numbers into memory.

    Raises:
        UserError: it has another size.
        FileNotFoundError: it is not there.
    """
    expected = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if (size := path.stat().st_size) != expected:
        raise UserError(f"{path} has {size} bytes where {expected} were written; index the folder again with --rebuild")
    return np.memmap(path, dtype=dtype, mode="r", shape=shape)


def _read_facts(path: Path) -> Facts:
    path.stat()  # FileNotFoundError where it is gone
    record = Record.of(read_json(path), str(path))
    if (form := record.get("form", int)) != FORM:
        raise UserError(
            f"{path.parent} was written in form {form}, but form {FORM} is read; index the folder again with --rebuild"
        )
    count, dim = record.count("count"), record.count("dim")
    if not count or not dim:
        raise UserError(f"{path} says {count} pictures of {dim} numbers; index the folder again with --rebuild")
    return Facts(
        model=_unquoted(record.get("model", str)),
        fingerprint=record.get("fingerprint", str),
        pictures=_unquoted(record.get("pictures", str)),
        count=count,
        dim=dim,
        skipped=tuple(_read_skipped(one) for one in record.records("skipped", allow_none=True)),
    )


def _quoted(name: str) -> str:
    """A path as JSON holds it, whatever its bytes are."""
    return quote(os.fsencode(name), safe="/ ")


def _unquoted(name: str) -> str:
    return os.fsdecode(unquote_to_bytes(name))


def _read_skipped(record: Record) -> Skipped:
    stamp = record.get("stamp", list)
    size, modified, changed = (expected(value, int, f"{record.place}: 'stamp'") for value in (*stamp, *[None] * 3)[:3])
    return Skipped(_unquoted(record.get("name", str)), record.get("reason", str), (size, modified, changed))
