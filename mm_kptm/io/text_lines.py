"""Text files, whole or line by line, with what is wrong with one said in one sentence."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from mm_kptm.errors import UserError


def read_text(path: str | Path, kind: str, *, allow_empty: bool = False) -> str:
    """Read a UTF-8 file, without the byte order mark that it may begin with.

    Args:
        path: of the file.
        kind: for messages, ``a JSON file`` say.
        allow_empty: whether a file of nothing but blanks will do.

    Raises:
        UserError: no such file, empty, no UTF-8, or the system refuses.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} was to be read, but there is no such file")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no UTF-8 text: byte {error.start} cannot be read") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    if not text.strip() and not allow_empty:
        raise UserError(f"{path} is empty; {kind} was expected")
    return text


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file with their numbers from 1, unpacked where it is a ``.gz``.

    Raises:
        UserError: a line is not UTF-8, or the packed file is broken.
    """
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
        number = 0
        try:
            for number, raw in enumerate(lines, 1):
                yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise UserError(f"{path}, line {number} is not UTF-8; save the file in that encoding") from None
        except (EOFError, gzip.BadGzipFile, zlib.error):
            raise UserError(f"{path} breaks off after line {number}; fetch it again") from None
