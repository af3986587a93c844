"""Text files, read whole or line by line, compressed or not; every error names the file and the line."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import unicodedata
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from mm_kptm.errors import UserError

PACKED_ENDINGS = (".gz", ".bz2", ".xz")  #: endings that say nothing about what a file holds once it is unpacked
_PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\x00": "xz"}
_OPENERS: dict[str, Callable[[IO[bytes]], IO[bytes]]] = {
    "gzip": lambda file: cast(IO[bytes], gzip.GzipFile(fileobj=file)),
    "bz2": lambda file: cast(IO[bytes], bz2.BZ2File(file)),
    "xz": lambda file: cast(IO[bytes], lzma.LZMAFile(file)),  # noqa: SIM115 the caller closes it
}
_DIGITS, _LONGEST_PATH = 18, 200
_LFS = b"version https://git-lfs"
_TAR, _TAR_AT = b"ustar", 257  # in the header of an archive, and where
_UNREADABLE = {b"PK\x03\x04": "a zip archive", b"\x28\xb5\x2f\xfd": "packed by zstd", b"7z\xbc\xaf": "a 7z archive"}


def is_file(path: Path) -> bool:
    """Whether there is such a file.

    Raises:
        UserError: the system refuses the path: it is too long, or a folder on the way may not be entered.
    """
    try:
        return path.is_file()
    except OSError as error:
        shown = str(path)
        shown = shown if len(shown) <= _LONGEST_PATH else f"{shown[:_LONGEST_PATH]}..."
        raise UserError(f"{shown} cannot be read: {error.strerror}") from None


def compression(path: Path) -> str | None:
    """How a file is packed by its first bytes, whatever it is called: ``gzip``, ``bz2``, ``xz`` or None.

    Raises:
        UserError: it is packed in another way, or is a pointer of Git LFS in place of the file.
    """
    with path.open("rb") as file:
        return _compression(file.peek(len(_LFS)), path)


def _compression(head: bytes, path: Path) -> str | None:
    if head.startswith(_LFS):
        raise UserError(f"{path} is a pointer of Git LFS and not the file itself; fetch it with `git lfs pull`")
    for magic, kind in _UNREADABLE.items():
        if head.startswith(magic):
            raise UserError(f"{path} is {kind}, which is not unpacked here; unpack it, or pack it as gzip, bz2 or xz")
    return next((kind for magic, kind in _PACKED.items() if head.startswith(magic)), None)


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """A file or pipe for reading, unpacked by its content; ``UserError`` as :func:`compression`, and for an archive."""
    with path.open("rb") as file:
        packed = _compression(file.peek(len(_LFS)), path)
        if packed is None:
            _refuse_archive(file, path)
            yield file
            return
        with _OPENERS[packed](file) as unpacked:
            _refuse_archive(unpacked, path)
            try:
                yield unpacked
            except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
                if not is_cut_short(error):
                    raise
                raise UserError(f"{path} breaks off; fetch it again") from None


def _refuse_archive(file: IO[bytes], path: Path) -> None:
    try:
        head = cast(io.BufferedReader, file).peek(_TAR_AT + len(_TAR))
    except (OSError, EOFError, zlib.error, lzma.LZMAError):
        return  # who reads on says so
    if head[_TAR_AT:].startswith(_TAR):
        raise UserError(f"{path} is an archive of several files (tar); unpack it and name one of them")


def is_cut_short(error: BaseException) -> bool:
    """Whether reading a packed file failed because it is broken, and not because the system refused."""
    broken = isinstance(error, EOFError | gzip.BadGzipFile | zlib.error | lzma.LZMAError)
    return broken or (isinstance(error, OSError) and error.errno is None)  # what bz2 raises


def content_suffix(path: Path) -> str:
    """The ending of a file's name that tells its format, in small letters: ``.nt`` of ``Towns.NT.gz``."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while len(suffixes) > 1 and suffixes[-1] in PACKED_ENDINGS:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def read_text(path: str | Path, kind: str, *, allow_empty: bool = False) -> str:
    """Read a UTF-8 file, decompressed by its content, without a byte order mark.

    Args:
        path: file to read.
        kind: description for messages, such as ``a JSON file``.
        allow_empty: accept a blank file.

    Raises:
        UserError: no such file, empty, a line is not UTF-8 (the message names it), or the system refuses.
    """
    path = Path(path)
    if not is_file(path):
        raise UserError(f"{path} was to be read, but there is no such file")
    try:
        with open_bytes(path) as file:
            raw = file.read()
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        if is_cut_short(error):
            raise UserError(f"{path} breaks off; fetch it again") from None
        raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', error)}") from None
    if b"\0" in raw:
        raise with_nul(path, raw.count(b"\n", 0, raw.index(0)) + 1, raw)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _not_utf8(path, raw.count(b"\n", 0, error.start) + 1) from None
    if not text.strip() and not allow_empty:
        raise UserError(f"{path} is empty; {kind} was expected")
    return io.IncrementalNewlineDecoder(None, translate=True).decode(text, final=True)


def is_blank(text: str) -> bool:
    r"""Whether a text shows nothing: it has only white space and signs without width or form.

    >>> is_blank(" \u200b\ufeff\t"), is_blank("a\u200d")
    (True, False)
    """
    return all(letter.isspace() or unicodedata.category(letter) in ("Cf", "Cc") for letter in text)


def each_line(path: str | Path, kind: str, *, allow_empty: bool = False) -> Iterator[str]:
    """Iterate over the lines of :func:`read_text`, without their ends, holding one at a time.

    Raises:
        UserError: as :func:`read_text`.
    """
    path = Path(path)
    if not is_file(path):
        raise UserError(f"{path} was to be read, but there is no such file")
    blank = True
    try:
        with open_bytes(path) as file, io.TextIOWrapper(file, encoding="utf-8-sig") as lines:
            for line in lines:
                if "\0" in line:
                    break
                blank = blank and not line.strip()
                yield line.removesuffix("\n")
            else:
                if not blank or allow_empty:
                    return
    except (OSError, EOFError, UnicodeDecodeError, zlib.error, lzma.LZMAError):
        pass  # what is wrong, and in which line, is said by reading the whole
    read_text(path, kind, allow_empty=allow_empty)


def is_count(text: str) -> bool:
    """Whether a text is a whole number of 0 or more in ASCII digits, small enough for 64 bits.

    ``str.isdigit`` also holds for signs that ``int`` does not read, and for any number of digits.

    >>> is_count("12"), is_count("²"), is_count("9" * 30)
    (True, False, False)
    """
    return text.isascii() and text.isdigit() and len(text) <= _DIGITS


def numbered_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """Iterate over (line number from 1, line without its end) of a UTF-8 file, decompressed by its content.

    Raises:
        UserError: a line is not UTF-8, or the compressed file is damaged.
    """
    path = Path(path)
    if not is_file(path) and not path.is_fifo():
        raise UserError(f"{path} was to be read, but there is no such file")
    with open_bytes(path) as lines:
        number = 0
        try:
            for raw in lines:
                number += 1
                if b"\0" in raw:
                    raise with_nul(path, number, raw)
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                if "\r" not in text:
                    yield number, text
                else:  # each ends a line, as everywhere where text is read
                    for line in text.split("\r"):
                        yield number, line
                        number += 1
                    number -= 1
        except UnicodeDecodeError:
            raise _not_utf8(path, number) from None
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            if not is_cut_short(error):
                raise
            raise UserError(f"{path} breaks off after line {number}; fetch it again") from None


def with_nul(path: Path, line: int, raw: bytes) -> UserError:
    """The error for a zero byte: UTF-16 and UTF-32 write Latin letters with many, which would pass for UTF-8."""
    if raw.count(0) * 4 >= len(raw):
        return _not_utf8(path, line)
    return UserError(f"{path}, line {line} holds a NUL byte, which no text has; remove it, or fetch the file again")


def _not_utf8(path: Path, line: int) -> UserError:
    return UserError(f"{path}, line {line} is not UTF-8; save the file in that encoding")
