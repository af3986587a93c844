"""Texts of tokenized bitext: a sentence alone, a pair in a row, and either side of a translation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from mm_kptm.batch import Inputs
from mm_kptm.crosslingual.corpora.bitext import EncodedSentence, monolingual, translations
from mm_kptm.crosslingual.corpora.tokenized_bitext import IntArray, TokenizedBitext
from mm_kptm.data.packing import Packed
from mm_kptm.data.tokenizers.protocol import Specials
from mm_kptm.preprocessing.inputs import InputSource
from mm_kptm.preprocessing.text import shortened
from mm_kptm.preprocessing.translation_frames import TranslationFrame

Pair = tuple[EncodedSentence, EncodedSentence]


@dataclass(frozen=True, eq=False)
class SentencesAlone:
    """Sentences of bitext as texts, each by itself.

    Args:
        bitext: the sentences.
        numbers: of the sentences that are texts, [N].
        specials: stand around each.
        room: pieces of a text, without special ones.
    """

    bitext: TokenizedBitext
    numbers: IntArray
    specials: Specials
    room: int

    def __len__(self) -> int:
        return len(self.numbers)

    def length(self, index: int) -> int:
        """Tokens of a text."""
        return min(int(self.bitext.sentences.lengths[self.numbers[index]]), self.room) + self.specials.around(1)

    @property
    def lengths(self) -> IntArray:
        """Tokens of every text, [N]."""
        return np.minimum(self.bitext.sentences.lengths[self.numbers], self.room) + self.specials.around(1)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Inputs:
        """The texts of the given indices."""
        said = [self.bitext.sentence(number, self.room) for number in self.numbers[list(indices)].tolist()]
        return InputSource(monolingual(said, self.specials)).batch(range(len(said)), generator)


@dataclass(frozen=True, eq=False)
class OneSide:
    """Sentences of bitext as what is translated, or as what is written.

    Args:
        bitext: the sentences.
        numbers: of the sentences, [N].
        frame: what stands around each.
        codes: token of every language, by its number, where the frame has them.
        written: whether they are the targets.
        max_length: tokens of a text.
    """

    bitext: TokenizedBitext
    numbers: IntArray
    frame: TranslationFrame
    codes: Sequence[int]
    written: bool
    max_length: int

    def __len__(self) -> int:
        return len(self.numbers)

    def length(self, index: int) -> int:
        """Tokens of a text."""
        return int(self.lengths[index])

    @cached_property
    def lengths(self) -> IntArray:
        """Tokens of every text, [N]."""
        return np.minimum(self.bitext.sentences.lengths[self.numbers] + self._around, self.max_length)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Inputs:
        """The texts of the given indices."""
        room = self.max_length - self._around
        said = [self.bitext.sentence(number, room) for number in self.numbers[list(indices)].tolist()]
        put = self.frame.target if self.written else self.frame.source
        ids = [put(one.ids, self.codes[one.language] if self.codes else 0) for one in said]
        spoken = [[one.language] * len(text) for one, text in zip(said, ids, strict=True)]
        packed = Packed.of(ids=ids, positions=[range(len(one)) for one in ids], languages=spoken)
        return InputSource(packed).batch(range(len(said)), generator)

    @property
    def _around(self) -> int:
        return len(self.frame.target(())) if self.written else len(self.frame.source(()))


@dataclass(frozen=True, eq=False)
class SideBySide:
    """Sentences and their translations as texts of two parts.

    Args:
        bitext: the sentences.
        pairs: the two sentences of every text, [N, 2].
        specials: stand around each part.
        room: pieces of a text, without special ones.
    """

    bitext: TokenizedBitext
    pairs: IntArray
    specials: Specials
    room: int

    def __len__(self) -> int:
        return len(self.pairs)

    def length(self, index: int) -> int:
        """Tokens of a text."""
        return min(int(self.bitext.sentences.lengths[self.pairs[index]].sum()), self.room) + 2 * self.specials.around(1)

    @property
    def lengths(self) -> IntArray:
        """Tokens of every text, [N]."""
        lengths = self.bitext.sentences.lengths[self.pairs].sum(1)
        return np.minimum(lengths, self.room) + 2 * self.specials.around(1)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Inputs:
        """The texts of the given indices."""
        said = [
            _cut((self.bitext.sentence(first), self.bitext.sentence(second)), self.room)
            for first, second in self.pairs[list(indices)].tolist()
        ]
        return InputSource(translations(said, self.specials)).batch(range(len(said)), generator)


def _cut(pair: Pair, room: int) -> Pair:
    first, second = pair
    one, other = shortened(first.ids, second.ids, room=room)
    return first._replace(ids=one), second._replace(ids=other)
