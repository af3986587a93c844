"""Tokenized sentences of aligned files in a few arrays, in memory or in a token store.

The column of rows is ``ids``; columns of sequences are ``language`` and ``entry``, the files that a sentence comes
from. The sentences of a line lie one behind the other, in the order of the languages of its entry.

Shapes: S sentences, L lines of an entry, W languages of it, P pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mm_kptm.crosslingual.corpora.bitext import EncodedSentence
from mm_kptm.crosslingual.corpora.parallel_files import bitext_lines
from mm_kptm.data.packing import Packed
from mm_kptm.data.token_store import Tokenized
from mm_kptm.data.tokenizers.batch import IDS, encode_batch
from mm_kptm.data.tokenizers.protocol import Tokenizer
from mm_kptm.io.text_lines import is_blank

LANGUAGE, ENTRY = "language", "entry"

IntArray = NDArray[np.int64]
Line = tuple[int, tuple[str, ...]]  #: number of the entry, and a sentence in each of its languages


@dataclass(frozen=True)
class Entry:
    """Files whose lines are translations of each other, or one file."""

    prefix: Path  #: beginning of their names
    languages: tuple[str, ...]
    numbers: tuple[int, ...]  #: ids of the languages


def lines_of(entries: Sequence[Entry]) -> Iterator[Line]:
    """Every line of the files, one at a time, those without a sentence in some language too.

    Raises:
        UserError: as :func:`~mm_kptm.crosslingual.corpora.parallel_files.bitext_lines`.
    """
    for number, entry in enumerate(entries):
        for line in bitext_lines(entry.prefix, entry.languages):
            yield number, line


@dataclass(frozen=True, eq=False)
class BitextTokenizer:
    """Tokenizes lines, many at once; one that shows nothing in one of its languages is dropped and counted."""

    tokenizer: Tokenizer
    entries: tuple[Entry, ...]

    def __call__(self, items: Sequence[Line]) -> Tokenized:
        """The sentences of the lines."""
        kept = [(number, line) for number, line in items if not any(map(is_blank, line))]
        texts = [text for _, line in kept for text in line]
        spoken = [language for number, _ in kept for language in self.entries[number].languages]
        by_language: dict[str, list[int]] = {}
        for place, language in enumerate(spoken):
            by_language.setdefault(language, []).append(place)
        parts = [
            encode_batch(self.tokenizer, [texts[place] for place in places], language)
            for language, places in by_language.items()
        ] or [encode_batch(self.tokenizer, [])]
        places = np.array([place for some in by_language.values() for place in some], dtype=np.int64)
        columns, lengths = Packed.joined(*parts).take(places.argsort())
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
        numbers = [self.entries[number].numbers for number, _ in kept]
        dropped = len(items) - len(kept)
        return Tokenized(
            Packed(offsets, {IDS: columns[IDS]}),
            {
                LANGUAGE: np.array([one for some in numbers for one in some], dtype=np.int64),
                ENTRY: np.array([number for number, line in kept for _ in line], dtype=np.int64),
            },
            {"lines without a sentence in each of their languages": dropped} if dropped else {},
        )


@dataclass(frozen=True, eq=False)
class TokenizedBitext:
    """Sentences by number, and which of them are translations of each other."""

    sentences: Packed  #: column ids
    languages: NDArray[np.generic]  #: language id of every sentence, [S]
    entry: NDArray[np.generic]  #: entry of every sentence, ascending, [S]
    entries: tuple[Entry, ...]

    @classmethod
    def read(cls, found: Tokenized, entries: tuple[Entry, ...]) -> TokenizedBitext:
        """From what :class:`BitextTokenizer` made."""
        return cls(found.rows, found.of_sequences[LANGUAGE], found.of_sequences[ENTRY], entries)

    def __len__(self) -> int:
        return len(self.sentences)

    def sentence(self, number: int, room: int | None = None) -> EncodedSentence:
        """A sentence of at most ``room`` pieces."""
        start, stop = (int(self.sentences.offsets[at]) for at in (number, number + 1))
        stop = stop if room is None else min(stop, start + room)
        return EncodedSentence(self.sentences.columns[IDS][start:stop].tolist(), int(self.languages[number]))

    def lines(self, number: int, *, misaligned: bool = False) -> IntArray:
        """The sentences of the lines of an entry, [L, W].

        Misaligned: each language is moved by other lines than the others, so that none stands beside its translation;
        two lines are the fewest that can be.
        """
        first, end = np.searchsorted(self.entry, [number, number + 1])
        width = len(self.entries[number].languages)
        count = (end - first) // width
        shifts = np.arange(width) * max(count // width, 1) * misaligned
        places = (np.arange(count)[:, None] + shifts) % max(count, 1)
        return np.asarray(first + places * width + np.arange(width), dtype=np.int64)

    def pairs(self, *, misaligned: bool = False) -> IntArray:
        """Every sentence with each of its translations, line by line, in both orders, [P, 2]."""
        found = [np.zeros((0, 2), np.int64)]
        for number, entry in enumerate(self.entries):
            if len(entry.languages) > 1:
                orders = np.array(list(permutations(range(len(entry.languages)), 2)))
                found.append(self.lines(number, misaligned=misaligned)[:, orders].reshape(-1, 2))
        return np.concatenate(found)
