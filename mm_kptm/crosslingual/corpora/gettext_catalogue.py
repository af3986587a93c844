"""Message catalogues of GNU gettext (``.po``) as bitext: what is translated, and by which plural form."""

from __future__ import annotations

import gettext
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from mm_kptm.errors import UserError
from mm_kptm.io.text_lines import open_bytes, with_nul

_CHARSET = re.compile(rb"charset=([^\s\\\"]+)", re.IGNORECASE)
_PLURAL = re.compile(r"plural\s*=\s*(.+?)\s*;?\s*$")
_KEYWORD = re.compile(r"(msgctxt|msgid_plural|msgid|msgstr(?:\[(\d+)\])?)\s*(.*)$")
_ESCAPE = re.compile(r'\\([abfnrtv"\\])')
_ESCAPED = dict(zip('abfnrtv"\\', '\a\b\f\n\r\t\v"\\', strict=True))
_LINE_END = re.compile(r"\r\n?|\n")
_LARGEST = 100  #: counts up to here decide which plural forms serve more than one


@dataclass(frozen=True)
class Message:
    """An entry of a catalogue.

    Attributes:
        context: what tells equal ids apart, or None; an empty context is a context.
        source: the id, the message in the source language.
        plural: the id for other counts than one, or None.
        forms: translations by index of the plural form; one, of index 0, without a plural.
        flags: such as ``fuzzy``, which marks a guess.
        obsolete: whether the program no longer has the message.
    """

    context: str | None
    source: str
    plural: str | None
    forms: dict[int, str]
    flags: tuple[str, ...] = ()
    obsolete: bool = False

    @property
    def translated(self) -> bool:
        """Whether the translations may be used: neither obsolete nor fuzzy nor empty."""
        return not self.obsolete and "fuzzy" not in self.flags and all(self.forms.values())


@dataclass(frozen=True)
class Catalogue:
    """The header and the messages of a catalogue, in file order."""

    encoding: str
    header: dict[str, str]
    messages: tuple[Message, ...]

    @cached_property
    def plural_index(self) -> Callable[[int], int]:
        """The index of the plural form of a count, by the header's C expression.

        Raises:
            UserError: the expression cannot be read.
        """
        written = _PLURAL.search(self.header.get("Plural-Forms", "plural=n != 1"))
        try:
            return gettext.c2py(written[1] if written else "")
        except ValueError as error:
            forms = self.header.get("Plural-Forms")
            raise UserError(f"the header's Plural-Forms is {forms!r}, which is no plural rule: {error}") from None

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Translation pairs: plain messages, and of plural ones the pairs that the plural rule vouches for.

        The singular is paired only if its form serves no larger count up to 100, the plural with the form that serves
        most of them. The same id in two contexts gives two pairs.
        """
        for message in self.messages:
            if not message.translated:
                continue
            if message.plural is None:
                yield message.source, message.forms[0]
                continue
            singular = self.plural_index(1)
            larger = Counter(self.plural_index(count) for count in range(2, _LARGEST + 1))
            if singular not in larger and singular in message.forms:
                yield message.source, message.forms[singular]
            many = larger.most_common(1)[0][0]
            if many in message.forms:
                yield message.plural, message.forms[many]


def read_catalogue(path: Path) -> Catalogue:
    """Read a ``.po`` file in the charset that its header names; without one it is UTF-8.

    Adjacent strings are joined and C escapes of one letter are resolved; octal and hexadecimal ones stay as written, as
    polib and Babel leave them.

    Raises:
        UserError: the file is missing, names an unknown charset or is not in it, or a line cannot be read.
    """
    if not path.is_file():
        raise UserError(f"{path} was to be read, but there is no such file")
    with open_bytes(path) as file:
        raw = file.read()
    encoding = _encoding(raw, path)
    if b"\0" in raw:
        raise with_nul(path, raw.count(b"\n", 0, raw.index(0)) + 1, raw)
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}, line {line} is not {encoding}, the charset of the header; correct the header"
        ) from None
    found = list(_messages(text.lstrip("\ufeff"), path))
    header: dict[str, str] = {}
    messages = []
    for message in found:
        if message.source or message.context is not None:
            messages.append(message)
        elif not header:
            fields = (line.partition(":") for line in message.forms.get(0, "").splitlines())
            header = {name.strip(): value.strip() for name, sign, value in fields if sign}
    return Catalogue(encoding, header, tuple(messages))


def _encoding(raw: bytes, path: Path) -> str:
    written = _CHARSET.search(raw)
    name = written[1].decode("ascii", "replace").lower() if written else "utf-8"
    if name == "charset":  # the placeholder of a template
        return "utf-8"
    try:
        "".encode(name)  # which refuses codecs that are none of text, such as hex
    except (LookupError, ValueError):
        raise UserError(f"{path} names the charset {name!r}, which is not known; correct its Content-Type") from None
    return name


@dataclass
class _Draft:
    """A message while its lines are read."""

    strings: dict[str, str] = field(default_factory=dict)
    flags: list[str] = field(default_factory=list)
    obsolete: bool = False
    last: str = ""

    def complete(self, path: Path, line: int) -> Message:
        if "msgid" not in self.strings:
            raise UserError(f"{path}, line {line}: an entry ends there that has no msgid")
        forms = {
            int(name[7:-1]) if "[" in name else 0: string
            for name, string in self.strings.items()
            if name.startswith("msgstr")
        }
        if not forms:
            raise UserError(f"{path}, line {line}: the entry of {self.strings['msgid']!r} ends there without a msgstr")
        return Message(
            self.strings.get("msgctxt"),
            self.strings["msgid"],
            self.strings.get("msgid_plural"),
            forms,
            tuple(self.flags),
            self.obsolete,
        )


def _messages(text: str, path: Path) -> Iterator[Message]:
    draft, number = _Draft(), 0
    for number, whole in enumerate(_LINE_END.split(text), 1):
        line = whole.strip()
        obsolete = line.startswith("#~")
        if obsolete:
            line = line[2:].strip()
        if line.startswith("|"):  # the former id of an obsolete entry
            continue
        if draft.last.startswith("msgstr") and line.startswith(("#", "msgctxt", "msgid")):
            yield draft.complete(path, number)
            draft = _Draft()
        if line.startswith("#,"):
            draft.flags += [flag.strip() for flag in line[2:].split(",")]
        if not line or line.startswith("#"):
            continue
        keyword = _KEYWORD.match(line)
        if keyword is not None:
            draft.last, string = keyword[1], keyword[3]
            draft.strings[draft.last] = ""
            draft.obsolete = obsolete
        else:
            string = line
        if not draft.last or len(string) < 2 or not string.startswith('"') or not string.endswith('"'):
            raise UserError(f"{path}, line {number} is {whole!r}; a keyword and a string in double quotes belong there")
        draft.strings[draft.last] += _ESCAPE.sub(lambda found: _ESCAPED[found[1]], string[1:-1])
    if draft.last:
        yield draft.complete(path, number)
