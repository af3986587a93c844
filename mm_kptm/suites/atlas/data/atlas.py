"""Atlas in memory: drawings, names, facts and labels of one folder; the embedded tier unless another is named."""

from __future__ import annotations

import hashlib
import json
import lzma
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mm_kptm.errors import UserError, nearest
from mm_kptm.suites.atlas.data.concepts import Concept
from mm_kptm.suites.atlas.data.drawings import Pixels, read_sheet
from mm_kptm.suites.atlas.data.facts import Fact

EMBEDDED = Path(__file__).parent / "embedded"  #: the tier that is part of the package
RECORD, TOKENIZER = "atlas.json.xz", "tokenizer.json"
ATLAS_VERSION = "2"  #: changes with every change of the data
FLAG_STYLES = ("flags", "round-flags")


@dataclass(frozen=True, eq=False)
class Atlas:
    """One tier.

    Args:
        folder: where it lies.
        concepts: emoji sequences, in Unicode's order.
        names: of every concept by language, each in the order of the concepts; empty where there is none.
        facts: triples of entities, which are ``kind:code``.
        labels: of entities, by entity and language.
        population: inhabitants of territories.
        same_flags: sets of territories whose flags are the same picture, the most populous first.
        drawn: by style, what is drawn, in the order of its sheet: codes of concepts or of territories.
        digest: of the record file.
    """

    folder: Path
    concepts: tuple[Concept, ...]
    names: Mapping[str, tuple[str, ...]]
    facts: tuple[Fact, ...]
    labels: Mapping[str, Mapping[str, str]]
    population: Mapping[str, int]
    same_flags: tuple[tuple[str, ...], ...]
    drawn: Mapping[str, tuple[str, ...]]
    digest: str
    _sheets: dict[str, Pixels] = field(default_factory=dict, repr=False)

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes of the languages that concepts are named in."""
        return tuple(self.names)

    @property
    def styles(self) -> tuple[str, ...]:
        """Styles of concepts; flags have their own."""
        return tuple(style for style in self.drawn if style not in FLAG_STYLES)

    @cached_property
    def index(self) -> Mapping[str, int]:
        """Number of every concept, by code."""
        return {one.code: number for number, one in enumerate(self.concepts)}

    def pixels(self, style: str) -> Pixels:
        """All drawings of a style, in the order of ``drawn[style]``, [N, 48, 48, 3].

        Raises:
            UserError: there is no such style, or its sheet is torn.
        """
        if style not in self.drawn:
            raise UserError(
                f"{self.folder} has no drawings in the style {style!r}"
                f"{nearest(style, self.drawn, otherwise='it has ' + ', '.join(self.drawn))}; "
                "other styles come with `mm-kptm data fetch atlas`"
            )
        if style not in self._sheets:
            path = self.folder / f"{style}.webp"
            try:
                self._sheets[style] = read_sheet(path.read_bytes(), len(self.drawn[style]))
            except (OSError, ValueError) as error:
                raise UserError(f"{path} is no whole sheet of drawings ({error}); fetch it again") from None
            if len(self._sheets[style]) != len(self.drawn[style]):
                raise UserError(f"{path} holds fewer drawings than {RECORD} names; fetch it again")
        return self._sheets[style]

    def place(self, style: str) -> Mapping[str, int]:
        """Where each code stands in the sheet of a style."""
        return {code: number for number, code in enumerate(self.drawn[style])}

    def tails(self, relation: str) -> dict[str, tuple[str, ...]]:
        """The tails of a relation by head."""
        found: dict[str, list[str]] = {}
        for head, name, tail in self.facts:
            if name == relation:
                found.setdefault(head, []).append(tail)
        return {head: tuple(tails) for head, tails in found.items()}


@cache
def open_atlas(folder: Path = EMBEDDED) -> Atlas:
    """Open a tier; drawings are decoded when they are first asked for.

    Raises:
        UserError: the folder holds no tier, or its record is torn or of another version.
    """
    path = folder / RECORD
    try:
        content = path.read_bytes()
        read: Any = json.loads(lzma.decompress(content))
    except FileNotFoundError:
        raise UserError(f"{folder} holds no {RECORD}; make it with `mm-kptm data fetch atlas --out {folder}`") from None
    except (OSError, lzma.LZMAError, ValueError) as error:
        raise UserError(f"{path} is no whole record of Atlas ({error}); fetch it again") from None
    if read.get("version") != ATLAS_VERSION:
        raise UserError(
            f"{path} is of version {read.get('version')} of Atlas, but this package reads {ATLAS_VERSION}; "
            "fetch it again"
        )
    return Atlas(
        folder=folder,
        concepts=tuple(
            Concept(code, group, sub, family, tuple(parts)) for code, group, sub, family, parts in read["concepts"]
        ),
        names={language: tuple(names) for language, names in read["names"].items()},
        facts=tuple((head, relation, tail) for head, relation, tail in read["facts"]),
        labels=read["labels"],
        population=read["population"],
        same_flags=tuple(map(tuple, read["same_flags"])),
        drawn={style: tuple(codes) for style, codes in read["drawn"].items()},
        digest=hashlib.sha256(content).hexdigest(),
    )


def blank(count: int) -> Pixels:
    """White drawings, for ablations without pictures."""
    return np.full((count, 48, 48, 3), 255, np.uint8)
