"""Generalisation splits of Number World.

A split defines which scenes and questions each side may contain. ``dev`` is distributed like training, with its own
scans (and, for ``world``, worlds), so that model selection does not see what is held out for the test.

================  ====================================================================
``iid``           only the scans are held out
``comp-20``       a fifth of all colour-number cells (``comp-40`` ... ``comp-80``: more)
``fact``          a fifth of all facts, never asked about in training
``world``         the arbitrary facts: those of the test are new draws
``relation``      the relation home, never asked about in training
``hop``           training asks about a number, the test about its successor
``size``          training shows two or three numbers, the test four or five
``para``          the fourth template of every question
``lang-0``        questions in English only; the test asks in the other languages
``lowres``        of every other language one training question for twenty in English
``lang-pairs``    question and facts: English on one side at least; the test has it on neither
``joint``         question and facts in one language; the test mixes two
================  ====================================================================
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mm_kptm.errors import UserError
from mm_kptm.random_streams import RandomStream
from mm_kptm.suites.number_world.generator.facts import RANGES, RELATIONS
from mm_kptm.suites.number_world.generator.numerals import LANGUAGES
from mm_kptm.suites.number_world.generator.scene import COLOURS, SIZES

SIDES_OF_A_SPLIT = ("train", "dev", "test")
EVERY_PAIR = tuple((question, facts) for question in LANGUAGES for facts in LANGUAGES)


@dataclass(frozen=True)
class Part:
    """Constraints on the scenes and questions of one side of a split."""

    split: str
    side: str  #: side of the scans: train, dev or test
    worlds: str = "train"  #: side of the worlds
    sizes: tuple[int, ...] = SIZES
    pairs: tuple[tuple[str, str], ...] = tuple(
        (language, language) for language in LANGUAGES
    )  #: languages of question and facts
    relations: tuple[str, ...] = tuple(RANGES)  #: relations asked about
    hops: tuple[int, ...] = (1,)
    forms: tuple[int, ...] = (0, 1, 2, 3)  #: templates
    types: tuple[str, ...] | None = None  #: types of visual questions; all when None
    held_cells: int = 0  #: fifths of the colour-number cells that are held out
    asks_held_cells: bool = False
    holds_facts: bool = False
    asks_held_facts: bool = False

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages of the questions."""
        return tuple(dict.fromkeys(question for question, _ in self.pairs))


def _comp(fifths: int) -> Callable[[Part], Part]:
    def change(part: Part) -> Part:
        part = replace(part, held_cells=fifths)
        if part.side != "test":
            return part
        return replace(part, asks_held_cells=True, types=("colour", "number", "exists-coloured"))

    return change


def _unlike(**test: Any) -> Callable[[Part], Part]:
    """Change of the test side only."""
    return lambda part: replace(part, **test) if part.side == "test" else part


def _either(train: Mapping[str, Any], test: Mapping[str, Any]) -> Callable[[Part], Part]:
    return lambda part: replace(part, **(test if part.side == "test" else train))


_ENGLISH = tuple(pair for pair in EVERY_PAIR if "en" in pair or pair[0] == pair[1])

_OTHERS = tuple((language, language) for language in LANGUAGES if language != "en")
RARITY = 20  #: English questions to one in another language, in ``lowres``
LATER = frozenset({"lowres"})  #: splits that are younger than the version and no part of its fingerprint

SPLITS: Mapping[str, Callable[[Part], Part]] = {
    "iid": lambda part: part,
    **{f"comp-{20 * fifths}": _comp(fifths) for fifths in (1, 2, 3, 4)},
    "fact": lambda part: replace(part, holds_facts=True, asks_held_facts=part.side == "test"),
    "world": lambda part: replace(part, worlds=part.side),
    "relation": _either({"relations": ("owner", "guild")}, {"relations": ("home",)}),
    "hop": _unlike(hops=(2,)),
    "size": _either({"sizes": (2, 3)}, {"sizes": (4, 5)}),
    "para": _either({"forms": (0, 1, 2)}, {"forms": (3,)}),
    "lang-0": _either(
        {"pairs": (("en", "en"),)},
        {"pairs": _OTHERS},
    ),
    "lowres": _either({"pairs": (*((("en", "en"),) * RARITY), *_OTHERS)}, {"pairs": _OTHERS}),
    "lang-pairs": _either({"pairs": _ENGLISH}, {"pairs": tuple(pair for pair in EVERY_PAIR if pair not in _ENGLISH)}),
    "joint": _unlike(pairs=tuple(pair for pair in EVERY_PAIR if pair[0] != pair[1])),
}


def part(split: str, side: str) -> Part:
    """One side of a split; ``UserError`` for an unknown name."""
    if split not in SPLITS:
        raise UserError(f"there is no split called {split!r}; the splits are {', '.join(SPLITS)}")
    if side not in SIDES_OF_A_SPLIT:
        raise UserError(f"a split has no side called {side!r}; the sides are {', '.join(SIDES_OF_A_SPLIT)}")
    return SPLITS[split](Part(split, side))


@cache
def held_cells(numbers: int, fifths: int) -> NDArray[np.bool_]:
    """Mask of the held-out colour-number cells, [numbers, 8], balanced over numbers and colours.

    Hold-outs are nested: the cells of ``comp-20`` are among those of ``comp-40``; each number keeps some colours.
    """
    order = RandomStream(0, "held cells").orders(1, numbers)[0]
    cells = (order[:, None] * 3 + np.arange(len(COLOURS))) % 5 < fifths
    cells.flags.writeable = False
    return cells


@cache
def held_facts(numbers: int) -> NDArray[np.bool_]:
    """Mask of the held-out facts, [numbers, 9]: a fifth of each relation, at most two per number."""
    order = RandomStream(0, "held facts").orders(1, numbers)[0]
    facts = (order[:, None] + 2 * np.arange(len(RELATIONS))) % 5 == 0
    facts.flags.writeable = False
    return facts


def scene_masks(part: Part, numbers: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Masks of the cells that scenes of a part may show and that may be the focus, both [numbers, 8]."""
    held = held_cells(numbers, part.held_cells)
    if part.asks_held_cells:
        return np.ones_like(held), held
    return ~held, ~held
