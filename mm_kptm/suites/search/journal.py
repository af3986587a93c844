"""Journal of embedded pictures: what a killed indexing had done is not done again.

Records lie end to end: a header (magic, dim, bytes of the thumbnail), the digest of the file, the vector, the thumbnail
and a checksum. A record that was cut short ends the journal; it is cut off when writing goes on.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from mm_kptm.suites.search.generation import DIGEST_BYTES

_HEADER, _CHECKSUM = struct.Struct("<4sII"), struct.Struct("<I")
_MAGIC = b"pic1"
_MOST = 1 << 26  # bytes of a thumbnail, or numbers of a vector, that a header is believed to announce


@dataclass(frozen=True, eq=False)
class Embedded:
    """A picture as the index keeps it."""

    vector: NDArray[np.float32]  #: [D]
    thumbnail: bytes  #: a JPEG file


class Journal:
    """Append-only file of embedded pictures by the digest of their files; a context manager."""

    def __init__(self, path: Path) -> None:
        self._where: dict[bytes, tuple[int, int, int]] = {}  # digest -> place of the vector, dim, bytes of thumbnail
        self._file: BinaryIO = path.open("a+b")
        whole = 0
        for digest, place, dim, size, end in self._records():
            self._where[digest] = (place, dim, size)
            whole = end
        self._file.truncate(whole)
        self._file.seek(0, os.SEEK_END)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._where

    def __len__(self) -> int:
        return len(self._where)

    def __getitem__(self, digest: bytes) -> Embedded:
        place, dim, size = self._where[digest]
        self._file.seek(place)
        vector = np.frombuffer(self._file.read(4 * dim), np.float32)
        thumbnail = self._file.read(size)
        self._file.seek(0, os.SEEK_END)
        return Embedded(vector, thumbnail)

    def add(self, digest: bytes, embedded: Embedded) -> None:
        """Append a picture."""
        vector = np.ascontiguousarray(embedded.vector, np.float32).tobytes()
        header = _HEADER.pack(_MAGIC, len(embedded.vector), len(embedded.thumbnail))
        body = header + digest + vector + embedded.thumbnail
        place = self._file.seek(0, os.SEEK_END) + _HEADER.size + DIGEST_BYTES
        self._file.write(body + _CHECKSUM.pack(zlib.crc32(body)))
        self._where[digest] = (place, len(embedded.vector), len(embedded.thumbnail))

    def flush(self) -> None:
        """Hand what was appended to the operating system, which keeps it when the process is killed."""
        self._file.flush()

    def _records(self) -> Iterator[tuple[bytes, int, int, int, int]]:
        """Digest, place of the vector, dim, bytes of the thumbnail and end of every whole record."""
        self._file.seek(0)
        end = 0
        while len(header := self._file.read(_HEADER.size)) == _HEADER.size:
            magic, dim, size = _HEADER.unpack(header)
            if magic != _MAGIC or dim > _MOST or size > _MOST:
                return
            body = self._file.read(DIGEST_BYTES + 4 * dim + size)
            check = self._file.read(_CHECKSUM.size)
            if check != _CHECKSUM.pack(zlib.crc32(header + body)):
                return
            place = end + _HEADER.size + DIGEST_BYTES
            end += _HEADER.size + len(body) + _CHECKSUM.size
            yield body[:DIGEST_BYTES], place, dim, size, end
