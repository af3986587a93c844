"""Segmentation of text into words and names of a graph by leftmost longest match."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS

TAGS = (*BERT_SPECIALS, "[ENT]", "[SUB]", "[PRE]", "[OBJ]")  #: what the released K-BERT never splits

#: Scripts whose words are not set apart by blanks, as ranges; each of their characters is a unit of its own.
UNSPACED = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
# Vowel signs and accents that stand on a letter are no letters themselves to ``re``, but no ends of words either.
_MARKS = r"\u0300-\u036f\u064b-\u065f\u0900-\u0963\u0966-\u0dff"
_BEGINS_UNSPACED = re.compile(rf"[{UNSPACED}]")


class Word(NamedTuple):
    """Word of a text with its character offsets."""

    text: str  #: a name as the graph spells it
    start: int  #: its first character
    end: int  #: the one after its last


def running(words: Sequence[str]) -> str:
    """Join words into a text, with spaces except in scripts that do not use them.

    >>> running(["New", "York", "的", "小", "猫"])
    'New York的小猫'
    """
    text = ""
    for word in words:
        apart = text and not _BEGINS_UNSPACED.match(text[-1]) and not _BEGINS_UNSPACED.match(word)
        text += f" {word}" if apart else word
    return text


class Segmenter:
    """Segments a text into words; a name of the graph is one word, even with spaces inside.

    Where words are written apart a name begins and ends with a whole word ("art" is not found in "party"), unlike the
    segmenter of the released K-BERT. Text between names falls into words, or characters where words are not set apart.
    Upper and lower case differ. ``tags`` are single words wherever they stand.

    >>> Segmenter(["New York", "小猫"])("[CLS]小猫在New  York")
    ['[CLS]', '小猫', '在', 'New York']
    """

    def __init__(self, names: Iterable[str], *, tags: Iterable[str] = TAGS) -> None:
        # no tag leaves a pattern that matches nothing
        tag = "|".join(map(re.escape, tags)) or r"(?!)"
        self._unit = re.compile(rf"{tag}|(?:[^\W{UNSPACED}]|[{_MARKS}])+|\S")
        self._names: dict[str, str] = {}  # with single blanks -> as the graph spells it
        lengths: dict[str, set[int]] = {}  # first unit -> how many units the names have that begin with it
        for name in names:
            units = self._unit.findall(name)
            if units:
                self._names.setdefault(_single_blanks(name), name)
                lengths.setdefault(units[0], set()).add(len(units))
        self._longest_first = {first: sorted(known, reverse=True) for first, known in lengths.items()}

    def __call__(self, text: str) -> list[str]:
        """Words of a text, in order; a name as the graph spells it."""
        return [word.text for word in self._words(text)]

    def words(self, text: str) -> list[Word]:
        """Words of a text with their character offsets."""
        return list(self._words(text))

    def _words(self, text: str) -> Iterator[Word]:
        units = [match.span() for match in self._unit.finditer(text)]
        place = 0
        while place < len(units):
            start, stop = units[place]
            word, taken = text[start:stop], 1
            for length in self._longest_first.get(word, ()):
                if place + length <= len(units):
                    name = self._names.get(_single_blanks(text[start : units[place + length - 1][1]]))
                    if name is not None:
                        word, taken = name, length
                        break
            yield Word(word, start, units[place + taken - 1][1])
            place += taken


def _single_blanks(text: str) -> str:
    return " ".join(text.split())
