"""Reading of UTF-8 text files, whole or line by line, with one-sentence error messages."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from mm_kptm.errors import UserError


def read_text(path: str | Path, kind: str, *, allow_empty: bool = False) -> str:
    """Read a UTF-8 file without its optional byte order mark.

    Args:
        path: file to read.
        kind: description for messages, such as ``a JSON file``.
        allow_empty: accept a blank file.

    Raises:
        UserError: the file is missing, empty, not UTF-8, or cannot be read.
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
    """Iterate over (line number from 1, line) of a UTF-8 file, decompressed if it ends in ``.gz``.

    Raises:
        UserError: a line is not UTF-8, or the compressed file is damaged.
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
