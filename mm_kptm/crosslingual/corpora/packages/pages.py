"""Pages in XML, such as help and handbooks, aligned text by text with their translations.

Translated pages are generated from the English ones, so that their elements stand in the same order; pages where they
do not are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

from mm_kptm.crosslingual.corpora.cleaning import Pair
from mm_kptm.crosslingual.corpora.packages.published import LOCALES, Markup, ParallelPackage
from mm_kptm.crosslingual.corpora.packages.texts import PackageTexts
from mm_kptm.io.package_archives import PackageArchive

Block = tuple[str, str]  #: an element's name and its text


def read_blocks(source: bytes, markup: Markup) -> list[Block]:
    """Read the texts of a page in the order in which their elements begin.

    What stands inside an inline element belongs to the text around it.

    Raises:
        ElementTree.ParseError: the page is not well-formed XML.

    >>> markup = Markup("", "", frozenset({"p", "li"}), frozenset({"credit"}))
    >>> read_blocks(b"<page><credit><p>by me</p></credit><li>One <b>big</b><p>two</p> cat</li></page>", markup)
    [('li', 'One big cat'), ('p', 'two')]
    """
    blocks: list[tuple[str, list[str]]] = []

    def read(element: ElementTree.Element, text: list[str]) -> None:
        name = element.tag.rsplit("}", 1)[-1] if isinstance(element.tag, str) else ""  # comments have no name
        if name in markup.blocks:
            text = []
            blocks.append((name, text))
        if name and name not in markup.apart:
            text.append(element.text or "")
            for child in element:
                read(child, text)
                text.append(child.tail or "")

    read(ElementTree.fromstring(source), [])
    return [(name, " ".join("".join(text).split())) for name, text in blocks]


def aligned(page: Sequence[Block], translation: Sequence[Block]) -> Iterator[Pair] | None:
    """The texts of a page with their translations; None where the translation has other elements."""
    if [name for name, _ in page] != [name for name, _ in translation]:
        return None
    return ((text, translated) for (_, text), (_, translated) in zip(page, translation, strict=True))


def page_pairs(package: ParallelPackage, opened: Mapping[PackageArchive, Path], language: str) -> Iterator[Pair]:
    """The texts of pages whose translation has the same elements."""
    if package.markup is None:
        raise ValueError(f"{package.name} says nothing of its markup")
    english = _pages(package.archive, opened, package.markup, (package.markup.source,))
    for archive in package.translations.get(language, (package.archive,)):
        translated = _pages(archive, opened, package.markup, LOCALES.get(language, (language,)))
        for page, content in translated.items():
            if page in english:
                yield from aligned(*(read_blocks(one, package.markup) for one in (english[page], content))) or ()


def _pages(
    archive: PackageArchive, opened: Mapping[PackageArchive, Path], markup: Markup, names: Sequence[str]
) -> dict[str, bytes]:
    """The pages of a language by name."""
    members = archive.members(opened[archive], markup.suffix)
    found = ((re.fullmatch(markup.file, member), content) for member, content in members)
    return {match["page"]: content for match, content in found if match and match["language"] in names}


PAGES = PackageTexts("pages", "text", page_pairs)
