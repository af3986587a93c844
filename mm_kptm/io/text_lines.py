"""Text files, whole or line by line, with what is wrong with one said in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mm_kptm.errors import UserError
from mm_kptm.io.compression import PACKING_ERRORS, is_torn, open_unpacked

_MARK = b"\xef\xbb\xbf"  # the byte order mark that a UTF-8 file may begin with


def read_text(path: str | Path, kind: str, *, allow_empty: bool = False) -> str:
    """Read a UTF-8 file, unpacked and without the byte order mark that it may begin with; line ends become newlines.

    Args:
        path: of the file; packed ones are recognised by their content (:mod:`mm_kptm.io.compression`).
        kind: for messages, ``a JSON file`` say.
        allow_empty: whether a file of nothing but blanks will do.

    Raises:
        UserError: no such file, empty, no UTF-8 (the message names the line), or the system refuses.
    """
    with open_unpacked(path) as file:
        raw = file.read()
    text = _decoded(raw.removeprefix(_MARK), path, 1).replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip() and not allow_empty:
        raise UserError(f"{path} is empty; {kind} was expected")
    return text


def numbered_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file with their numbers from 1, unpacked, without a byte order mark and line ends.

    Raises:
        UserError: no such file, a line is not UTF-8, or the packed file is broken.
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
