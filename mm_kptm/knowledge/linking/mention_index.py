"""Mention index: finds names of a long list in texts of any script.

A name matches where its words follow one another, with spaces between the same of them as in the name. Case,
compatibility forms and combining accents are normalised (:mod:`~mm_kptm.knowledge.linking.normalization`). Words are
looked up as hashes, all positions of a batch at once, and matches are verified character by character.

Shapes: N names, U words of a batch, M mentions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mm_kptm.knowledge.linking.hash_table import MISSING
from mm_kptm.knowledge.linking.name_trie import Matches, NameTrie
from mm_kptm.knowledge.linking.normalization import Flags, Integers, NormalizedText, folding
from mm_kptm.knowledge.linking.vocabulary import LinkingVocabulary, SplitWords

_AT_ONCE = 1 << 17  # characters whose arrays stay near the processor


@dataclass(frozen=True, eq=False)
class Mentions:
    """Mentions ordered by text, start, and longer ones first."""

    texts: Integers  #: which text, [M]
    starts: Integers  #: the first character, [M]
    ends: Integers  #: the one after the last, [M]
    names: Integers  #: which name, as in :attr:`MentionIndex.numbers`, [M]

    def __len__(self) -> int:
        return len(self.texts)

    def __iter__(self) -> Iterator[tuple[int, int, int, int]]:
        columns = (self.texts, self.starts, self.ends, self.names)
        return zip(*(column.tolist() for column in columns), strict=True)


class MentionIndex:
    """Index that finds names in texts.

    Args:
        names: one that is blank is never found.
        cased: whether upper and lower case differ.

    >>> list(MentionIndex(["New York", "小猫", "york"]).find(["小猫在NEW  YORK"]))
    [(0, 0, 2, 1), (0, 3, 12, 0)]
    """

    def __init__(self, names: Sequence[str], *, cased: bool = False) -> None:
        self._folding = folding(cased)
        words = SplitWords.of(self._folding(names))
        walls = words.walls
        lengths = np.diff(walls, prepend=-1) - 1
        words = words.take(np.delete(np.arange(len(words.starts)), walls))
        self._vocabulary = LinkingVocabulary(words)
        symbols = _symbols(self._vocabulary.numbers, words.apart)
        firsts = (lengths.cumsum() - lengths)[lengths > 0]
        symbols[firsts] = _symbols(self._vocabulary.numbers[firsts], np.zeros(len(firsts), dtype=bool))
        self._trie = NameTrie(symbols, lengths)

    @property
    def numbers(self) -> Integers:
        """Index of every name: names equal after normalisation share the first one's index; -1 if blank, [N]."""
        return self._trie.numbers

    def find(self, texts: Sequence[str], *, overlaps: bool = False) -> Mentions:
        """Find the mentions of texts.

        Args:
            texts: in any language and script.
            overlaps: every mention; otherwise from left to right the longest that does not overlap the one before.
        """
        parts = [self._found(texts[first:stop], first, overlaps) for first, stop in _batches(texts)]
        if not parts:
            none = np.zeros(0, dtype=np.int64)
            return Mentions(none, none, none, none)
        columns = ([getattr(part, name) for part in parts] for name in ("texts", "starts", "ends", "names"))
        return Mentions(*map(np.concatenate, columns))

    def _found(self, texts: Sequence[str], first: int, overlaps: bool) -> Mentions:
        folded = self._folding(texts)
        words = SplitWords.of(folded)
        numbers = self._vocabulary(words)
        known = numbers != MISSING
        starting = np.where(known, _symbols(numbers, np.zeros(len(numbers), dtype=bool)), MISSING)
        going_on = np.where(known, _symbols(numbers, words.apart), MISSING)
        matches = self._trie.walk(starting, going_on)
        matches = matches.take(self._true(matches, words, numbers) & _whole(matches, words, folded))
        matches = matches.take(np.lexsort((-matches.counts, matches.words)))
        if not overlaps:
            matches = matches.take(_longest(matches))
        return _mentions(matches, words, folded, first)

    def _true(self, matches: Matches, words: SplitWords, numbers: Integers) -> Flags:
        """Whether all words of a match are equal to the name's, not only their hashes."""
        used = np.zeros(len(numbers) + 1, dtype=np.int64)
        np.add.at(used, matches.words, 1)
        np.add.at(used, matches.words + matches.counts, -1)
        asked = np.flatnonzero(used.cumsum()[:-1])
        wrong = asked[~self._vocabulary.same(words.take(asked), numbers[asked])]
        before = np.zeros(len(numbers) + 1, dtype=np.int64)
        before[wrong + 1] = 1
        before = before.cumsum()
        true: Flags = before[matches.words + matches.counts] == before[matches.words]
        return true


def _symbols(numbers: Integers, apart: Flags) -> Integers:
    """Trie symbols of words, which depend on whether a space comes before."""
    return 2 * numbers.astype(np.int64) + apart


def _whole(matches: Matches, words: SplitWords, folded: NormalizedText) -> Flags:
    """Whether a match starts and ends at character boundaries of the original text, not inside an expansion."""
    if folded.origins is None:
        return np.ones(len(matches), dtype=bool)
    origins = np.concatenate([[-1], folded.origins, [-1]])
    starts, ends = words.starts[matches.words], words.ends[matches.words + matches.counts - 1]
    whole: Flags = (origins[starts] != origins[starts + 1]) & (origins[ends] != origins[ends + 1])
    return whole


def _longest(matches: Matches) -> Integers:
    """Leftmost longest matches, given matches ordered by start, longer ones first."""
    behind = np.searchsorted(matches.words, matches.words + matches.counts).tolist()
    kept = []
    place = 0
    while place < len(behind):
        kept.append(place)
        place = behind[place]
    return np.array(kept, dtype=np.int64)


def _mentions(matches: Matches, words: SplitWords, folded: NormalizedText, first: int) -> Mentions:
    """Matches with character offsets in their texts."""
    starts, lasts = words.starts[matches.words], words.ends[matches.words + matches.counts - 1] - 1
    if folded.origins is not None:
        starts, lasts = folded.origins[starts], folded.origins[lasts]
    texts = np.searchsorted(folded.ends, starts)
    begins = np.concatenate([[0], folded.ends + 1])[texts]
    return Mentions(texts + first, starts - begins, lasts + 1 - begins, matches.names)


def _batches(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Bounds of batches of texts that are processed together."""
    first, size = 0, 0
    for place, text in enumerate(texts):
        size += len(text)
        if size >= _AT_ONCE:
            yield first, place + 1
            first, size = place + 1, 0
    if first < len(texts):
        yield first, len(texts)
