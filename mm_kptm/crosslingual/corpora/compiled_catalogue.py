"""Compiled catalogues of GNU gettext (``.mo``): what is installed of a ``.po`` file."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from mm_kptm.crosslingual.corpora.gettext_catalogue import Message
from mm_kptm.errors import UserError

_MAGIC = 0x950412DE
_HEADER = 20  #: bytes up to the two tables: magic number, revision, number of strings, and where the tables begin
_CONTEXT, _PLURAL = "\x04", "\0"  #: what ends a context, and what parts plural forms


def read_compiled(content: bytes, name: str) -> tuple[Message, ...]:
    """Read a compiled catalogue in UTF-8, in the order of its ids; it has no fuzzy and no obsolete messages.

    Args:
        content: of the file.
        name: of the file, for what is said of it.

    Raises:
        UserError: the file is cut short or of another kind, or a string is not UTF-8.
    """
    found = _read(content, name)
    return tuple(message for message in found if message.source or message.context is not None)


def compiled_header(content: bytes, name: str) -> dict[str, str]:
    """The fields of the header, such as ``Plural-Forms``; the arguments and errors of :func:`read_compiled`."""
    header = next((one.forms[0] for one in _read(content, name) if not one.source and one.context is None), "")
    fields = (line.partition(":") for line in header.split("\n"))
    return {key.strip(): value.strip() for key, sign, value in fields if sign}


def _read(content: bytes, name: str) -> tuple[Message, ...]:
    for order in "<>":
        if len(content) >= _HEADER and struct.unpack_from(f"{order}I", content)[0] == _MAGIC:
            break
    else:
        raise UserError(f"{name} is not a compiled gettext catalogue: its first bytes are not those of one")
    try:
        return tuple(_messages(content, order))
    except struct.error:
        raise UserError(f"{name} ends before its tables of strings do; it was cut short, so fetch it again") from None
    except UnicodeDecodeError:
        raise UserError(f"{name} holds a string that is not UTF-8; only catalogues in UTF-8 are read") from None


def _messages(content: bytes, order: str) -> Iterator[Message]:
    count, ids, translations = struct.unpack_from(f"{order}3I", content, 8)
    for number in range(count):
        source, translated = (
            _string(content, *struct.unpack_from(f"{order}2I", content, table + 8 * number))
            for table in (ids, translations)
        )
        context, separator, message = source.rpartition(_CONTEXT)
        singular, _, plural = message.partition(_PLURAL)
        forms = dict(enumerate(translated.split(_PLURAL)))
        yield Message(context if separator else None, singular, plural or None, forms)


def _string(content: bytes, length: int, start: int) -> str:
    if start + length > len(content):
        raise struct.error("a string lies outside the file")
    return content[start : start + length].decode("utf-8")
