"""Compiled catalogues give the messages that gettext itself finds in them."""

import gettext
import io
import struct

import pytest

from mm_kptm.crosslingual.corpora.compiled_catalogue import read_compiled
from mm_kptm.errors import UserError

STRINGS = {
    "": "Content-Type: text/plain; charset=UTF-8\nPlural-Forms: nplurals=2; plural=(n != 1);\n",
    "menu\x04Open": "Öffnen",
    "The page was saved.": "Die Seite wurde gespeichert.",
    "%d page\0%d pages": "%d Seite\0%d Seiten",
}


def compiled(strings: dict[str, str], order: str = "<") -> bytes:
    """A catalogue as ``msgfmt`` writes it, without the optional table of hashes."""
    pairs = sorted((source.encode(), text.encode()) for source, text in strings.items())
    tables, texts = [], b""
    start = 28 + 16 * len(pairs)
    for side in (0, 1):
        for pair in pairs:
            tables.append(struct.pack(f"{order}2I", len(pair[side]), start + len(texts)))
            texts += pair[side] + b"\0"
    header = struct.pack(f"{order}7I", 0x950412DE, 0, len(pairs), 28, 28 + 8 * len(pairs), 0, 0)
    return header + b"".join(tables) + texts


@pytest.mark.parametrize("order", ["<", ">"])
def test_messages_are_those_that_gettext_finds(order: str) -> None:
    content = compiled(STRINGS, order)
    found = gettext.GNUTranslations(io.BytesIO(content))
    plain, page, opened = read_compiled(content, "de.mo")
    assert (plain.source, plain.plural, plain.forms) == ("%d page", "%d pages", {0: "%d Seite", 1: "%d Seiten"})
    assert found.ngettext(plain.source, str(plain.plural), 3) == plain.forms[1]
    assert (page.source, page.context, page.translated) == ("The page was saved.", None, True)
    assert found.gettext(page.source) == page.forms[0]
    assert (opened.source, opened.context) == ("Open", "menu") and found.pgettext("menu", "Open") == opened.forms[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"msgid", r"^de\.mo is not a compiled gettext catalogue: its first bytes are not those of one$"),
        (compiled(STRINGS)[:40], r"^de\.mo ends before its tables of strings do; it was cut short, so fetch it again$"),
        (compiled(STRINGS)[:-9], r"^de\.mo ends before its tables of strings do"),
        (compiled({"a": "b"}).replace(b"b", b"\xff"), r"^de\.mo holds a string that is not UTF-8; only catalogues in"),
    ],
)
def test_what_cannot_be_read_is_said(content: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_compiled(content, "de.mo")
