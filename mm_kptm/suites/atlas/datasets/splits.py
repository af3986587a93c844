"""Splits of Atlas's drawings and names: which concepts, in which style, in which languages.

Training never sees held-out concepts, held-out subgroups, the unseen style, or names in languages outside of its
settings, whatever the split; a split is what the test asks. Families (variants in gender, drawings that look alike)
lie on one side as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mm_kptm.suites.atlas.data.atlas import Atlas
from mm_kptm.suites.atlas.data.concepts import Concept
from mm_kptm.suites.atlas.data.held_out import HELD_OUT_SHARE, fraction, held_out_concept, held_out_subgroup

if TYPE_CHECKING:
    from mm_kptm.suites.atlas.datasets.settings import AtlasData

SPLITS = ("iid", "style", "concept", "style-concept", "subgroup", "lang-text", "lang-0")
DEV_SHARE = 0.05  #: of families, beside those that are held out


def side_of(concept: Concept) -> str:
    """``subgroup`` and ``concept``: held out; ``dev``; ``train``."""
    if held_out_subgroup(concept):
        return "subgroup"
    if held_out_concept(concept):
        return "concept"
    at = fraction("concept", concept.family)
    return "dev" if at < HELD_OUT_SHARE + DEV_SHARE else "train"


@dataclass(frozen=True)
class Side:
    """Concepts by number, the style they are drawn in, and the languages they are named in.

    Args:
        concepts: by number.
        style: of their drawings.
        languages: of their names.
        excludes: whether names that are the same in a language of training are left out.
    """

    concepts: tuple[int, ...]
    style: str
    languages: tuple[str, ...]
    excludes: bool = False


def split_side(data: AtlasData, split: str) -> Side:
    """What a split tests."""
    atlas = data.atlas
    seen, unseen = data.styles[0], data.unseen_style
    sides: Mapping[str, Side] = {
        "iid": Side(_of(atlas, "train", seen), seen, data.languages),
        "style": Side(_of(atlas, "train", unseen), unseen, data.languages),
        "concept": Side(_of(atlas, "concept", seen), seen, data.languages),
        "style-concept": Side(_of(atlas, "concept", unseen), unseen, data.languages),
        "subgroup": Side(_of(atlas, "subgroup", seen), seen, data.languages),
        "lang-text": Side(_of(atlas, "train", seen), seen, data.parallel_languages, excludes=True),
        "lang-0": Side(_of(atlas, "train", seen), seen, data.unpaired_languages, excludes=True),
        "dev": Side(_of(atlas, "dev", seen), seen, data.languages),
    }
    return sides[split]


def train_concepts(data: AtlasData) -> tuple[int, ...]:
    """Concepts that are trained, by number."""
    return _of(data.atlas, "train", data.styles[0])


def named(data: AtlasData, side: Side) -> list[tuple[int, str, str]]:
    """Concept, language and name of every caption of a side.

    A name that is spelt the same in a language that training pairs with drawings says nothing about another language,
    and is left out where the side excludes it.
    """
    atlas = data.atlas
    found = []
    for language in side.languages:
        for concept in side.concepts:
            name = atlas.names[language][concept]
            if not name or (side.excludes and spelt_alike(atlas, concept, name, data.languages)):
                continue
            found.append((concept, language, name))
    return found


def spelt_alike(atlas: Atlas, concept: int, name: str, languages: tuple[str, ...]) -> bool:
    """Whether a concept has this name in one of the languages, whatever the case."""
    return any(atlas.names[language][concept].casefold() == name.casefold() for language in languages)


def _of(atlas: Atlas, side: str, style: str) -> tuple[int, ...]:
    drawn = atlas.place(style)
    return tuple(number for number, one in enumerate(atlas.concepts) if one.code in drawn and side_of(one) == side)
