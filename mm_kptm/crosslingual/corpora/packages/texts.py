"""Kinds of text that packages hold in several languages, found by walking: one module of this folder each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mm_kptm.crosslingual.corpora.cleaning import Pair, Rule
from mm_kptm.crosslingual.corpora.packages.published import ParallelPackage
from mm_kptm.io.package_archives import PackageArchive
from mm_kptm.walking import instances_in

#: Read the pairs of a package, with its archives and their files, in English and one other language.
ReadPairs = Callable[[ParallelPackage, Mapping[PackageArchive, Path], str], Iterable[Pair]]


@dataclass(frozen=True)
class PackageTexts:
    """A kind of text, and how pairs of sentences or paragraphs are read out of it.

    Args:
        kind: as packages name it, and as the files begin that are written.
        row: what a line in all languages is called.
        pairs: reads those of a package.
        rules: what pairs must pass, beside the rules for every kind.
    """

    kind: str
    row: str
    pairs: ReadPairs
    rules: tuple[Rule, ...] = ()


@cache
def kinds() -> dict[str, PackageTexts]:
    """All kinds by name."""
    found = {texts.kind: texts for texts in instances_in(__package__ or "", PackageTexts)}
    return dict(sorted(found.items()))
