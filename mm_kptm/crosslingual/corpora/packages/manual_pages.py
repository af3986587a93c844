"""Manual pages in roff, aligned block by block with their translations.

Translated pages are generated from the English ones, so that the macros of both stand in the same order; a translation
may append a section about its translators.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mm_kptm.crosslingual.corpora.cleaning import LengthRatio, Pair
from mm_kptm.crosslingual.corpora.packages.published import ParallelPackage
from mm_kptm.crosslingual.corpora.packages.texts import PackageTexts
from mm_kptm.io.package_archives import PackageArchive

#: Macros that set a font or a link inside a paragraph; every other macro ends it.
INLINE: Final = frozenset({"B", "I", "BR", "RB", "IR", "RI", "BI", "IB", "SM", "UR", "UE", "MT", "ME"})
_LINKS = frozenset({"UR", "UE", "MT", "ME"})  #: their arguments are addresses
_TEXT = ""  #: what stands for a paragraph in the skeleton
_ARGUMENT = re.compile(r'"((?:[^"]|"")*)"?|(\S+)')
_NAMED = {
    "aq": "'", "dq": '"', "oq": "‘", "cq": "’", "lq": "“", "rq": "”", "em": "—", "en": "–", "bu": "•", "co": "©",
    "ha": "^", "ti": "~", "rs": "\\", "ga": "`", "Fo": "«", "Fc": "»", "<=": "≤", ">=": "≥", "mu": "×", "+-": "±",
}  # fmt: skip
_ESCAPE = re.compile(r"\\(?:f(?:\(..|\[[^\]]*\]|.)|\((..)|\[([^\]]*)\]|s[+-]?\d|(.))")
_PLAIN = {"-": "-", "e": "\\", " ": " ", "~": " ", "0": " ", "'": "'", "`": "`", "\\": "\\"}


@dataclass(frozen=True)
class ManualPage:
    """A page as its skeleton of macros, and the paragraphs between them in order."""

    skeleton: tuple[str, ...]
    paragraphs: tuple[str, ...]


def read_page(source: str) -> ManualPage:
    r"""Split a page into macros and paragraphs of plain text.

    >>> page = read_page('.\\" a comment\n.SH NAME\nopen \\- open a\n.I file\n.PP\nSee\n.BR read (2).\n')
    >>> page.skeleton, page.paragraphs
    (('SH', '', 'PP', ''), ('open - open a file', 'See read(2).'))
    """
    skeleton: list[str] = []
    paragraphs: list[str] = []
    lines: list[str] = []

    def end_paragraph() -> None:
        text = " ".join(" ".join(lines).split())
        lines.clear()
        if text:
            skeleton.append(_TEXT)
            paragraphs.append(text)

    for line in source.splitlines():
        if not line.startswith((".", "'")):
            lines.append(plain(line))
            continue
        macro, _, rest = line[1:].strip().partition(" ")
        if not macro or macro.startswith('\\"'):
            continue
        if macro in INLINE:
            lines.append("" if macro in _LINKS else _inline(macro, rest))
            continue
        end_paragraph()
        skeleton.append(macro)
    end_paragraph()
    return ManualPage(tuple(skeleton), tuple(paragraphs))


def aligned(page: ManualPage, translation: ManualPage) -> Iterator[tuple[str, str]] | None:
    """The paragraphs of a page with their translations; None where the translation has other macros."""
    if translation.skeleton[: len(page.skeleton)] != page.skeleton:
        return None
    return zip(page.paragraphs, translation.paragraphs, strict=False)


def plain(text: str) -> str:
    r"""Replace roff's escapes by their characters; fonts, sizes and unknown escapes are dropped.

    >>> plain(r"\fIfile\fP\&, \(lqa\(rq \- b\[em]")
    'file, “a” - b—'
    """

    def character(found: re.Match[str]) -> str:
        pair, bracketed, single = found.groups()
        if single is not None:
            return _PLAIN.get(single, "")
        return _NAMED.get(pair or bracketed or "", "")

    return _ESCAPE.sub(character, text)


def _inline(macro: str, rest: str) -> str:
    """Arguments of a font macro: with two letters they alternate and stand without spaces between them."""
    arguments = [(one or other).replace('""', '"') for one, other in _ARGUMENT.findall(rest)]
    return plain(("" if len(macro) == 2 and macro != "SM" else " ").join(arguments))


def manual_page_pairs(package: ParallelPackage, opened: Mapping[PackageArchive, Path], language: str) -> Iterator[Pair]:
    """The paragraphs of manual pages whose translation has the same macros."""
    english = {
        _page_of(member): content
        for archive in (package.archive, *package.others)
        for member, content in archive.members(opened[archive], ".gz")
    }
    for archive in package.translations[language]:
        for member, content in archive.members(opened[archive], ".gz"):
            if f"/man/{language}/" in member and (original := english.get(_page_of(member))) is not None:
                yield from aligned(_page(original), _page(content)) or ()


def _page_of(member: str) -> str:
    """Section and name of a page, such as ``man2/open.2.gz``."""
    return "/".join(member.rsplit("/", 2)[-2:])


def _page(content: bytes) -> ManualPage:
    return read_page(gzip.decompress(content).decode("utf-8", "replace"))


MANUAL_PAGES = PackageTexts("manual-pages", "paragraph", manual_page_pairs, (LengthRatio(),))
