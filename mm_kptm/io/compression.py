"""Packed files, recognised by their first bytes and not by their names."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, cast

from mm_kptm.errors import UserError

PACKED_ENDINGS = (".gz", ".bz2", ".xz")  #: the endings that say how a file is packed, before which its own stands

_OPENERS: dict[bytes, Callable[[Path], object]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
#: First bytes of files that are refused, and what such a file is.
_REFUSED = {
    b"PK\x03\x04": "an archive of several files (zip); unpack it and name one of them",
    b"\x28\xb5\x2f\xfd": "packed by zstd, which is not read; unpack it first",
    b"7z\xbc\xaf\x27\x1c": "an archive of several files (7z); unpack it and name one of them",
    b"version https://git-lfs": "a pointer of Git LFS in place of the file; fetch it with `git lfs pull`",
}
#: What the readers of packed bytes raise; of these :func:`is_torn` says which mean that a file breaks off.
PACKING_ERRORS = (EOFError, zlib.error, lzma.LZMAError, OSError)
_TAR, _TAR_AT = b"ustar", 257  # what stands in the header of an archive, and where
_HEAD = 512


@contextmanager
def open_unpacked(path: str | Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked where it is packed by gzip, bzip2 or xz, whatever it is called.

    Raises:
        UserError: there is no such file, it cannot be read, it is an archive or packed in another way, or what was
            packed breaks off.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} was to be read, but there is no such file")
    try:
        with path.open("rb") as plain:
            head = plain.read(_HEAD)
        opener = next((opener for first, opener in _OPENERS.items() if head.startswith(first)), None)
        with cast(IO[bytes], path.open("rb") if opener is None else opener(path)) as file:
            if opener is not None:
                with suppress(*PACKING_ERRORS):  # who reads on says after which line
                    head = file.read(_HEAD)
                file.seek(0)
            if (reason := _refusal(head)) is not None:
                raise UserError(f"{path} is {reason}")
            yield file
    except PACKING_ERRORS as error:
        if is_torn(error):
            raise UserError(f"{path} breaks off; fetch it again") from None
        raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', error)}") from None


def is_torn(error: Exception) -> bool:
    """Whether an error of :data:`PACKING_ERRORS` means that packed bytes break off or are damaged."""
    return not isinstance(error, OSError) or error.errno is None  # gzip and bzip2 raise the latter without a number


def content_ending(path: str | Path) -> str:
    """The ending of a name in small letters, without the one that says how the file is packed.

    >>> content_ending("dump.NT.bz2"), content_ending("a.tsv.GZ"), content_ending("b.nt"), content_ending("vocab")
    ('.nt', '.tsv', '.nt', '')
    """
    name = Path(Path(path).name)
    if name.suffix.lower() in PACKED_ENDINGS:
        name = Path(name.stem)
    return name.suffix.lower()


def _refusal(head: bytes) -> str | None:
    if head[_TAR_AT : _TAR_AT + len(_TAR)] == _TAR or (len(head) == _HEAD and not head.strip(b"\0")):
        return "an archive of several files (tar); unpack it and name one of them"
    return next((reason for first, reason in _REFUSED.items() if head.startswith(first)), None)
