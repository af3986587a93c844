"""Bitext out of packages: catalogues, manual pages, help, handbooks, the Universal Declaration of Human Rights.

Every text is read from a published archive that is checked by its digest; counts, licences and digests are written
beside what was built. Nothing of the texts is part of this package.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mm_kptm.crosslingual.corpora.cleaning import Distinct, Pair, Rule, WordCount, clean
from mm_kptm.crosslingual.corpora.packages.declaration import DECLARATIONS, articles
from mm_kptm.crosslingual.corpora.packages.published import PACKAGES, SOURCE, ParallelPackage
from mm_kptm.crosslingual.corpora.packages.rules import Untranslated, Words
from mm_kptm.crosslingual.corpora.packages.texts import PackageTexts, kinds
from mm_kptm.errors import UserError, nearest
from mm_kptm.io.atomic import sweep, write_json, write_lines
from mm_kptm.io.lock import locked
from mm_kptm.io.package_archives import PackageArchive

MAX_WORDS = 100  #: of either side of a pair
ABOUT = "sources.json"  #: counts, licences and digests


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
    ``manual-pages-de-en.de`` and so on the paragraphs of manual pages, ``pages-de-en.de`` those of help and handbooks;
    ``udhr.jsonl`` the articles of the declaration
    in all languages; ``sources.json`` counts, licences and digests.

    Args:
        packages: from :data:`PACKAGES`.
        languages: beside English.
        out: folder of the files.
        archives: folder that holds the archives; None: they are downloaded into ``out/archives``.
        max_words: pairs with more words on either side are dropped.

    Raises:
        UserError: a download failed, an archive is not the published one, a language is in none of them, or another
            process writes to the folder.
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
    with locked(out, "folder of bitext"):
        sweep(out)
        return _built(packages, languages, out, archives, max_words)


def _built(
    packages: Sequence[ParallelPackage], languages: Sequence[str], out: Path, archives: Path | None, max_words: int
) -> Built:
    """What :func:`build` writes into a folder that no other process writes to."""
    spoken = {package.name: _translated(package, languages) for package in packages}
    paths = {
        package.name: {
            archive: archive.found(archives) if archives is not None else archive.fetched(out / "archives")
            for archive in _archives(package, spoken[package.name])
        }
        for package in packages
    }
    (out / ABOUT).unlink(missing_ok=True)  # it speaks of all files, so it is written last
    built = Built()
    pairs: dict[str, dict[str, list[Pair]]] = {}
    for package in packages:
        there, opened = spoken[package.name], paths[package.name]
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
            texts = kinds()[package.kind]
            found = {language: list(texts.pairs(package, opened, language)) for language in there}
            about[0]["pairs"] = {language: len(of_language) for language, of_language in found.items()}
            together = pairs.setdefault(texts.kind, {})
            for language, of_language in found.items():
                together.setdefault(language, []).extend(of_language)
        built.sources += about
    for kind, by_language in pairs.items():
        built.sources.append({"file": kind, **_write_pairs(kinds()[kind], by_language, out, built, max_words)})
    write_json(out / ABOUT, built.sources, indent=1)
    built.files.append(out / ABOUT)
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
    texts: PackageTexts, found: Mapping[str, Sequence[Pair]], out: Path, built: Built, max_words: int
) -> dict[str, object]:
    """Clean the texts of every language and write them; returns counts, with those of every rule."""
    kept, dropped = {}, {}
    translations: dict[str, dict[str, str]] = {}  # by English message
    for language, pairs in found.items():
        at_most = WordCount(most=(max_words, max_words))
        rules: list[Rule] = [Untranslated(), Words(), at_most, *texts.rules, Distinct()]
        cleaned = clean((tuple(" ".join(text.split()) for text in pair) for pair in pairs), rules)  # type: ignore[misc]  # two sides stay two
        if not cleaned.pairs:
            raise UserError(
                f"the {texts.kind.replace('-', ' ')} hold no sentence in {language!r}; leave that language out"
            )
        kept[language], dropped[language] = len(cleaned.pairs), cleaned.dropped
        built.files += _write_bitext(out, texts.kind, (SOURCE, language), cleaned.pairs)
        for source, target in cleaned.pairs:
            translations.setdefault(source, {SOURCE: source}).setdefault(language, target)
    between = {}
    for one, other in itertools.combinations(sorted(found), 2):
        shared = [(row[one], row[other]) for row in translations.values() if one in row and other in row]
        built.files += _write_bitext(out, texts.kind, (one, other), shared)
        between[f"{one}-{other}"] = len(shared)
    whole = [row for row in translations.values() if len(row) == len(found) + 1]
    path = out / f"{texts.kind}.jsonl"
    write_rows(path, texts.row, {code: [row[code] for row in whole] for code in (SOURCE, *found)})
    built.files.append(path)
    return {"pairs": kept, "of one message": between, "in all languages": len(whole), "dropped": dropped}


def _write_bitext(out: Path, name: str, languages: Pair, pairs: Sequence[Pair]) -> list[Path]:
    """Write pairs line by line, in two files named by their languages in alphabetical order."""
    codes = sorted(languages)
    paths = [out / f"{name}-{'-'.join(codes)}.{language}" for language in languages]
    for side, path in enumerate(paths):
        write_lines(path, [pair[side] for pair in pairs])
    return paths


def write_rows(path: Path, name: str, texts: Mapping[str, Sequence[str]]) -> None:
    """Write aligned texts as JSON lines, in the schema of ``parallel-sentences``."""
    rows = zip(*texts.values(), strict=True)
    lines = [
        json.dumps({"id": f"{name}-{number}", "sentences": dict(zip(texts, row, strict=True))}, ensure_ascii=False)
        for number, row in enumerate(rows, 1)
    ]
    write_lines(path, lines)
