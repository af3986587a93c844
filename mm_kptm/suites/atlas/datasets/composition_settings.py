"""Settings of questions about composed drawings, and what each of them is composed of.

Unicode joins a person and a thing to a third drawing: a woman and a rocket are an astronaut. The things are concepts
of their own, so that a question about a profession that training never shows can be answered by who and what it has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

from mm_kptm.data.tokenizers.protocol import Tokenizer
from mm_kptm.errors import UserError
from mm_kptm.suites.atlas.data.atlas import ATLAS_VERSION, EMBEDDED, TOKENIZER, Atlas, open_atlas
from mm_kptm.suites.atlas.data.concepts import FACING_RIGHT, Concept
from mm_kptm.suites.atlas.data.held_out import fraction
from mm_kptm.suites.atlas.datasets.picture_wording import PICTURE_QUESTIONS, WHAT, WHO, WITH
from mm_kptm.suites.atlas.datasets.settings import atlas_tokenizer, check_styles

FOLDS = 5  #: of families of composed drawings
MAN, WOMAN, PERSON = "1F468", "1F469", "1F9D1"
_SIGNS = {"2642": MAN, "2640": WOMAN}
SPLITS = ("iid", "style", "concept", "style-concept")


class Composition(NamedTuple):
    """A question about a drawing and its answer.

    Args:
        concept: that is drawn.
        kind: who, with or what.
        answer: code of the concept that is the answer.
    """

    concept: Concept
    kind: str
    answer: str


@dataclass(frozen=True)
class AtlasCompositionsData:
    """Questions about drawings that Unicode composes: who is in the picture, and what do they have?"""

    name: Literal["atlas-compositions"] = "atlas-compositions"
    folder: Path | None = None  #: a larger tier, from `mm-kptm data fetch atlas`; the embedded one when null
    split: Literal["iid", "style", "concept", "style-concept"] = "iid"
    """What test asks; every split is also test-NAME."""
    fold: int = 0  #: which fifth of the families of composed drawings training never shows
    styles: tuple[str, ...] = ("noto", "fluent-flat")  #: drawings that are trained; the first one is tested
    unseen_style: str = "noto-v1"  #: drawings of the split style
    languages: tuple[str, ...] = ("en", "de", "fr", "es", "zh", "ru", "ar", "hi")  #: of questions
    questions: int = 12000  #: of training
    variants: int = 8  #: of each drawing in training, moved and tinted
    max_length: int = 32  #: pieces of a question that are read, special ones included
    seed: int = 0  #: of all that is drawn

    def __post_init__(self) -> None:
        known = PICTURE_QUESTIONS.keys() & set(self.atlas.languages)
        for language in self.languages:
            if language not in known:
                raise UserError(
                    f"data.languages has {language!r}, but questions are asked in {', '.join(sorted(known))}"
                )
        check_styles(self.atlas, self.styles, self.unseen_style)
        if not self.languages or not self.styles:
            raise UserError("data.languages and data.styles must name at least one language and one style")
        if not 0 <= self.fold < FOLDS:
            raise UserError(f"data.fold is {self.fold}, but there are folds 0 to {FOLDS - 1}")
        for key, least in (("questions", 1), ("variants", 1), ("max_length", 8)):
            if getattr(self, key) < least:
                raise UserError(f"data.{key} is {getattr(self, key)} but must be at least {least}")

    @property
    def atlas(self) -> Atlas:
        """The tier."""
        return open_atlas(EMBEDDED if self.folder is None else self.folder)

    def tokenizer(self) -> Tokenizer:
        """Byte-level pieces, learnt on names that no split holds out."""
        return atlas_tokenizer(self.atlas.folder / TOKENIZER)

    @cached_property
    def compositions(self) -> tuple[Composition, ...]:
        """Every question that can be asked, in Unicode's order."""
        return tuple(_compositions(self.atlas))

    @cached_property
    def answers(self) -> tuple[str, ...]:
        """Codes of the concepts that some question asks for."""
        return tuple(dict.fromkeys(one.answer for one in self.compositions))

    def holds_out(self, one: Composition) -> bool:
        """Whether the split ``concept`` asks a question and training never does; things alone are always trained."""
        return one.kind != WHAT and int(fraction("composition", one.concept.family) * FOLDS) == self.fold

    def asked(self, split: str) -> tuple[tuple[Composition, ...], tuple[str, ...]]:
        """The questions of a split, and the styles of their drawings."""
        held = split.endswith("concept")
        styles = self.styles if split == "train" else (self.unseen_style,) if "style" in split else self.styles[:1]
        drawn = [set(self.atlas.drawn[style]) for style in styles]
        chosen = [
            one
            for one in self.compositions
            if self.holds_out(one) == held
            and (split == "train" or one.kind != WHAT)
            and all(one.concept.code in of for of in drawn)
        ]
        return tuple(chosen), styles

    @property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprints of the data and of the settings that affect them."""
        return {
            "atlas": f"{ATLAS_VERSION}-{self.atlas.digest[:16]}",
            "settings": hashlib.sha256(repr(self).encode()).hexdigest(),
        }


def _compositions(atlas: Atlas) -> Iterator[Composition]:
    """Who is in every drawing of a person, what they have, and the things alone."""
    things: dict[str, None] = {}
    neutral: set[str] = set()
    for concept in atlas.concepts:
        if any(part in _SIGNS for part in concept.parts) and concept.parts[0] in atlas.index:
            neutral.add(concept.parts[0])
    for concept in atlas.concepts:
        if concept.code in (MAN, WOMAN, PERSON) or concept.code in neutral:
            yield Composition(concept, WHO, concept.code if concept.code in (MAN, WOMAN) else PERSON)
        elif concept.parts and (person := _person(concept)) is not None:
            yield Composition(concept, WHO, person)
            thing = concept.parts[1]
            if concept.parts[0] == person and thing in atlas.index and thing != FACING_RIGHT:
                things[thing] = None
                yield Composition(concept, WITH, thing)
    for thing in things:
        yield Composition(atlas.concepts[atlas.index[thing]], WHAT, thing)


def _person(concept: Concept) -> str | None:
    first, *others = concept.parts
    signs = [_SIGNS[part] for part in others if part in _SIGNS]
    if signs:
        return signs[0]
    return first if first in (MAN, WOMAN, PERSON) else None
