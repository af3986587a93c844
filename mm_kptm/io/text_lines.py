"""Reading of UTF-8 text files, whole or line by line, with one-sentence error messages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mm_kptm.errors import UserError
from mm_kptm.io.compression import PACKING_ERRORS, is_torn, open_unpacked

_MARK = b"\xef\xbb\xbf"  # the byte order mark that a UTF-8 file may begin with


def read_text(path: str | Path, kind: str, *, allow_empty: bool = False) -> str:
    """Read a UTF-8 file, decompressed and without its optional byte order mark; line ends become newlines.

    Args:
        path: file to read; compression is recognised by content (:mod:`mm_kptm.io.compression`).
        kind: description for messages, such as ``a JSON file``.
        allow_empty: accept a blank file.

    Raises:
        UserError: the file is missing, empty, not UTF-8 (the message names the line), or cannot be read.
    """
    with open_unpacked(path) as file:
        raw = file.read()
    text = _decoded(raw.removeprefix(_MARK), path, 1).replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip() and not allow_empty:
        raise UserError(f"{path} is empty; {kind} was expected")
    return text


def numbered_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """Iterate over (line number from 1, line) of a UTF-8 file, decompressed, without byte order mark and line ends.

    Raises:
        UserError: the file is missing, a line is not UTF-8, or the compressed file is damaged.
    """
    with open_unpacked(path) as file:
        number = 0
        try:
            for number, raw in enumerate(file, 1):
                yield number, _decoded(raw.removeprefix(_MARK) if number == 1 else raw, path, number).rstrip("\r\n")
        except PACKING_ERRORS as error:
            if is_torn(error):
                raise UserError(f"{path} breaks off after line {number}; fetch it again") from None
            raise


def _decoded(raw: bytes, path: str | Path, first_line: int) -> str:
    """Bytes as text.

    Args:
        raw: the bytes.
        path: of the file, for the message.
        first_line: the number of the line that they begin with.
    """
    try:
        if (place := raw.find(0)) < 0:
            return raw.decode()
        found = "a zero byte, as in UTF-16, is no text"
    except UnicodeDecodeError as error:
        place, found = error.start, f"byte {raw[error.start]:#04x} cannot be read"
    line = first_line + raw[:place].count(b"\n")
    raise UserError(f"{path}, line {line} is not UTF-8; save the file in that encoding ({found})")
