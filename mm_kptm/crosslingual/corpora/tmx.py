"""Translation memories in TMX 1.4, streamed, with inline mark-up flattened."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from mm_kptm.errors import UserError
from mm_kptm.io.text_lines import open_bytes

_DECLARATION = re.compile(rb"""<\?xml[^>]*?encoding\s*=\s*["']([^"'\s]*)["']""")
_HEAD = 256  #: bytes that hold the declaration
_PARSED = ("utf-8", "utf8", "utf-16", "iso-8859-1", "us-ascii", "ascii")  #: the parser's own, by how they begin
_XML_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
#: Elements whose content is native mark-up and no text; ``sub`` stands inside them.
_NATIVE = frozenset({"bpt", "ept", "it", "ph", "ut"})


@dataclass(frozen=True)
class TranslationUnit:
    """A unit of a translation memory: (language as written, text) of every variant, in order."""

    identifier: str | None
    segments: tuple[tuple[str, str], ...]

    def text(self, language: str) -> str | None:
        """The first variant in a language, by :func:`matches`."""
        return next((text for tag, text in self.segments if matches(tag, language)), None)


def matches(tag: str, language: str) -> bool:
    """Whether a language tag is meant by a language: any case, ``_`` as ``-``; without a region all regions are.

    >>> matches("EN_us", "en"), matches("en", "en-US"), matches("fra", "fr")
    (True, False, False)
    """
    tag, language = (name.lower().replace("_", "-") for name in (tag, language))
    return tag == language or tag.startswith(f"{language}-")


def tmx_units(path: Path) -> Iterator[TranslationUnit]:
    """The units of a TMX file, one after the other, so that files of gigabytes fit.

    The encoding is that of the byte order mark or the XML declaration; the DTD that the file names is not fetched.
    Text of ``seg`` and ``hi`` is read, native codes (``bpt ept it ph ut``) are left out.

    Raises:
        UserError: the file is missing, is no XML (the message names the line) or not in the encoding that it declares,
            or a variant names no language.
    """
    if not path.is_file():
        raise UserError(f"{path} was to be read, but there is no such file")
    encoding = _declared(path)
    with open_bytes(path) as file:
        try:
            body = None
            source = file if encoding is None else codecs.getreader(encoding)(file)
            for event, element in ElementTree.iterparse(source, events=("start", "end")):
                if event == "start":
                    body = element if element.tag == "body" else body
                elif element.tag == "tu":
                    yield _unit(element, path)
                    if body is not None:
                        body.clear()  # which would hold every unit to the end
        except ElementTree.ParseError as error:
            line = error.position[0]
            raise UserError(f"{path}, line {line} is not the XML of a translation memory: {error}") from None
        except UnicodeError:
            raise UserError(f"{path} is not {encoding}, the encoding of its XML declaration; correct that") from None


def _declared(path: Path) -> str | None:
    """The encoding that a file declares and that the parser of XML cannot read, such as Shift JIS; None: it can."""
    with open_bytes(path) as file:
        found = _DECLARATION.match(file.read(_HEAD).removeprefix(codecs.BOM_UTF8))
    name = found[1].decode("ascii", "replace").lower() if found else "utf-8"
    if name.replace("_", "-").startswith(_PARSED):
        return None
    try:
        "".encode(name)  # which refuses codecs that are none of text, such as hex
    except (LookupError, ValueError):
        raise UserError(f"{path} declares the encoding {name!r}, which is not known; correct its first line") from None
    return name


def read_tmx(path: Path, languages: tuple[str, str]) -> Iterator[tuple[str, str]]:
    """The pairs of two languages, from units that have both; empty segments are left out.

    Raises:
        UserError: as :func:`tmx_units`.
    """
    for unit in tmx_units(path):
        source, target = (unit.text(language) for language in languages)
        if source and target and source.strip() and target.strip():
            yield source, target


def _unit(element: ElementTree.Element, path: Path) -> TranslationUnit:
    segments = []
    for variant in element.iterfind("tuv"):
        language = variant.get(_XML_LANGUAGE) or variant.get("lang")
        if language is None:
            name = element.get("tuid") or "without a tuid"
            raise UserError(f"{path}, unit {name} has a variant that names no language; give it an xml:lang")
        segment = variant.find("seg")
        segments.append((language, "" if segment is None else flattened(segment)))
    return TranslationUnit(element.get("tuid"), tuple(segments))


def flattened(element: ElementTree.Element) -> str:
    """The text of a segment without its native codes; no white space is added or removed."""
    inside = (
        ""
        if element.tag in _NATIVE
        else (element.text or "") + "".join(flattened(child) + (child.tail or "") for child in element)
    )
    return inside
