"""Text normalisation as arrays: case folding, compatibility forms and combining accents.

Every character is folded by itself: case folding inside a compatibility decomposition (Unicode Standard, section 3.13,
D146), so that two texts are equal where their NFKC forms are, whatever their case. What became of a character knows
where it came from. A table is filled as characters are met, and a batch of texts is a few look-ups in it.

Shapes: C characters of all texts, walls between texts included, F folded characters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from mm_kptm.knowledge.linking.segmenter import UNSPACED

Integers = NDArray[np.integer]
Flags = NDArray[np.bool_]

WALL = 0x110000  #: stands between two texts; no character has this number
#: What a folded character is: a blank, a part of a word, a mark on the character before it, a word by itself, a wall.
BLANK, LETTER, MARK, ALONE, EDGE = 1, 2, 3, 4, 5
_NOT_MET, _SPREADS = 0, 6  # what a character may be before it is folded, too: one that becomes several, or none

#: Apostrophes, hyphens and quotation marks that are written for one another and that no Unicode form brings together.
_ALIKE = str.maketrans(
    dict.fromkeys("\u2018\u2019\u201b\u02bc\u00b4\u0060", "'")
    | dict.fromkeys("\u2010\u2011\u2012\u2013\u2212", "-")
    | dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb", '"')
)
_UNSEEN = re.compile("[\u034f\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")  # choose a glyph, say nothing
_UNSPACED = re.compile(f"[{UNSPACED}]")


@dataclass(frozen=True)
class NormalizedText:
    """Normalised batch of texts, with a :data:`WALL` after each."""

    codes: Integers  #: [F]
    kinds: NDArray[np.uint8]  #: :data:`BLANK` and so on, [F]
    origins: Integers | None  #: the character that each comes from, [F]; None where each comes from its own place
    ends: Integers  #: the place of the wall behind each text among all characters


@cache
def folding(cased: bool) -> Folding:
    """Shared instance, since its tables are the same for all."""
    return Folding(cased=cased)


class Folding:
    """Normalises texts by table look-up.

    Args:
        cased: whether upper and lower case differ.
    """

    def __init__(self, *, cased: bool = False) -> None:
        self._cased = cased
        self._kinds = np.zeros(WALL + 1, dtype=np.uint8)  # of a character as it is met
        self._becomes = np.arange(WALL + 1, dtype=np.uint32)  # where it becomes one
        self._spread: dict[int, str] = {}  # where it becomes several, or none
        self._classes = np.zeros(WALL + 1, dtype=np.uint8)  # canonical combining classes
        self._kinds[WALL] = EDGE

    def __call__(self, texts: Sequence[str]) -> NormalizedText:
        """Normalise texts, concatenated."""
        ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)) + 1) - 1
        characters = np.frombuffer("\0".join([*texts, ""]).encode("utf-32-le", "surrogatepass"), dtype=np.uint32).copy()
        characters[ends] = WALL
        kinds = self._kinds[characters]
        if not kinds.all():
            self._meet(np.unique(characters[kinds == _NOT_MET]))
            kinds = self._kinds[characters]
        codes: Integers = self._becomes[characters]
        spreading = np.flatnonzero(kinds == _SPREADS)
        origins: Integers | None = None
        if len(spreading):
            codes, origins = self._spread_out(characters, codes, spreading)
            kinds = self._kinds[codes]
        self._order(codes, kinds)
        return NormalizedText(codes, kinds, origins, ends)

    def _meet(self, characters: Integers) -> None:
        for number in characters.tolist():
            folded = self._folded(chr(number))
            for letter in folded:
                code = ord(letter)
                self._kinds[code] = _kind(letter)
                self._classes[code] = unicodedata.combining(letter)
            if len(folded) == 1:
                self._becomes[number] = ord(folded)
                self._kinds[number] = self._kinds[ord(folded)]
            else:
                self._spread[number] = folded
                self._kinds[number] = _SPREADS

    def _folded(self, letter: str) -> str:
        if unicodedata.category(letter) == "Cf" or _UNSEEN.match(letter):
            return ""  # joiners, soft hyphens, marks of direction
        folded = unicodedata.normalize("NFKD", letter.translate(_ALIKE))
        if not self._cased:
            # a letter may decompose once more when its case is gone
            folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", folded.casefold()).casefold())
        return folded

    def _spread_out(self, characters: Integers, codes: Integers, spreading: Integers) -> tuple[Integers, Integers]:
        become = [self._spread[number] for number in characters[spreading].tolist()]
        widths = np.ones(len(characters), dtype=np.int64)
        widths[spreading] = sizes = np.fromiter(map(len, become), np.int64, len(become))
        origins = np.repeat(np.arange(len(characters)), widths)
        starts = widths.cumsum() - widths
        out = codes[origins]
        places = np.repeat(starts[spreading] - (sizes.cumsum() - sizes), sizes) + np.arange(sizes.sum())
        out[places] = np.frombuffer("".join(become).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        return out, origins

    def _order(self, codes: Integers, kinds: NDArray[np.uint8]) -> None:
        """Sort runs of combining marks into canonical order."""
        marks = np.flatnonzero(kinds == MARK)
        classes = self._classes[codes[marks]]
        wrong = (np.diff(marks) == 1) & (classes[:-1] > classes[1:]) & (classes[1:] > 0)
        if wrong.any():
            runs = np.split(marks, np.flatnonzero((np.diff(marks) > 1) | (classes[1:] == 0)) + 1)
            for run in runs:
                codes[run] = codes[run][np.argsort(self._classes[codes[run]], kind="stable")]


def _kind(letter: str) -> int:
    """Kind of a folded character."""
    if letter.isspace():
        return BLANK
    if unicodedata.category(letter).startswith("M"):
        return MARK
    if letter.isalnum() or letter == "_":
        return ALONE if _UNSPACED.match(letter) else LETTER
    return ALONE
