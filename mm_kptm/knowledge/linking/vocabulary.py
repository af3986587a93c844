"""Word splitter of normalised texts, and a vocabulary of known words.

A word is letters and digits that stand together; where a script sets no blanks between words, and in punctuation, it is
a single character. Marks belong to the character before them.

Shapes: F folded characters, U words, V words of a vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from mm_kptm.knowledge.linking.hash_table import Keys, NumberTable
from mm_kptm.knowledge.linking.normalization import (
    ALONE,
    BLANK,
    EDGE,
    LETTER,
    MARK,
    WALL,
    Flags,
    Integers,
    NormalizedText,
)

#: Odd, so that their powers have inverses. Each is for words of which the one before makes two equal.
_MULTIPLIERS = (0x2545F4914F6CDD1D, 0xD1342543DE82EF95, 0xAEF17502108EF2D9)
_TAIL = 7  # a mark on a word of a single character


@dataclass(frozen=True, eq=False)
class SplitWords:
    """Words of normalised texts as start and end offsets; a wall is a word, too."""

    codes: Integers  #: [F]
    starts: Integers  #: [U]
    ends: Integers  #: the place behind the last character, [U]
    apart: Flags  #: whether there is a blank before it, [U]

    @classmethod
    def of(cls, folded: NormalizedText) -> SplitWords:
        """Words of all texts, in order."""
        kinds = _with_marks(folded.kinds)
        letters = kinds == LETTER
        begins = (kinds == ALONE) | (kinds == EDGE)
        begins[:1] |= letters[:1]
        begins[1:] |= letters[1:] & ~letters[:-1]
        cuts = np.flatnonzero(begins | (kinds == BLANK))
        of_words = np.flatnonzero(begins[cuts])
        starts, ends = cuts[of_words], np.append(cuts, len(kinds))[of_words + 1]
        apart = np.ones(len(starts), dtype=bool)
        apart[1:] = ends[:-1] != starts[1:]
        return cls(folded.codes, starts, ends, apart)

    @property
    def walls(self) -> Integers:
        """Indices of the walls."""
        return np.flatnonzero(self.codes[self.starts] == WALL)

    def take(self, which: Integers | Flags) -> SplitWords:
        """Select words."""
        return SplitWords(self.codes, self.starts[which], self.ends[which], self.apart[which])


class LinkingVocabulary:
    """Vocabulary of distinct words; a word of a text has an index or none.

    Args:
        words: none of them a wall.
    """

    def __init__(self, words: SplitWords) -> None:
        for multiplier in _MULTIPLIERS:
            self._hashing = _hashing(multiplier)
            keys, firsts, numbers = np.unique(self._hashing(words), return_index=True, return_inverse=True)
            self._words = words.take(firsts)
            if self.same(words, numbers).all():
                break
        else:
            raise RuntimeError("no multiplier separates these words")
        self.numbers: Integers = numbers  #: of the given words
        self._table = NumberTable(keys, np.arange(len(keys), dtype=np.int32))

    def __len__(self) -> int:
        return len(self._words.starts)

    def __call__(self, words: SplitWords) -> Integers:
        """Index of each word by hash, -1 for none, [U]; verify with :meth:`same`."""
        return self._table(self._hashing(words))

    def same(self, words: SplitWords, numbers: Integers) -> Flags:
        """Whether words are equal, character by character, to vocabulary words, [U]."""
        known = self._words.take(numbers)
        lengths = words.ends - words.starts
        equal = lengths == known.ends - known.starts
        rows = np.flatnonzero(equal)
        lengths = lengths[rows]
        firsts = lengths.cumsum() - lengths
        within = np.arange(int(lengths.sum())) - np.repeat(firsts, lengths)
        ours = words.codes[np.repeat(words.starts[rows], lengths) + within]
        theirs = known.codes[np.repeat(known.starts[rows], lengths) + within]
        equal[rows] = np.add.reduceat(ours != theirs, firsts) == 0 if len(rows) else True
        return equal


@cache
def _hashing(multiplier: int) -> _Hashing:
    return _Hashing(multiplier)


class _Hashing:
    """Polynomial hash of words modulo 2^64, by cumulative sums over all words at once."""

    def __init__(self, multiplier: int) -> None:
        self._multiplier = multiplier
        self._inverse = pow(multiplier, -1, 1 << 64)
        self._grow(1)

    def __call__(self, words: SplitWords) -> Keys:
        length = len(words.codes)
        if length > len(self._powers):
            self._grow(1 << length.bit_length())
        sums = np.zeros(length + 1, dtype=np.uint64)
        # a character counts from 1, so that longer words differ
        np.cumsum((words.codes + np.uint32(1)) * self._powers[:length], out=sums[1:])
        return (sums[words.ends] - sums[words.starts]) * self._inverses[words.starts]

    def _grow(self, length: int) -> None:
        self._powers, self._inverses = (
            np.concatenate([[np.uint64(1)], np.full(length - 1, factor, dtype=np.uint64).cumprod()])
            for factor in (self._multiplier, self._inverse)
        )


def _with_marks(kinds: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Attach every combining mark to its base character; a mark without one is a word."""
    marks = np.flatnonzero(kinds == MARK)
    if not len(marks):
        return kinds
    opens = np.diff(marks, prepend=-2) > 1
    bases = (marks[opens] - 1)[opens.cumsum() - 1]
    on = kinds[bases]
    kinds = kinds.copy()
    kinds[marks] = np.where(on == LETTER, LETTER, np.where(opens & (on != ALONE), ALONE, _TAIL))
    return kinds
