"""Tokenized documents: the pieces of their sentences in a few arrays, in memory or in a token store.

Columns of rows are ``ids``, ``units`` (mask group of every piece, numbered within its sentence) and ``capitals``
(whether its word is capitalised); the column of sequences is ``document``.

Shapes: S sentences, T pieces of all of them, D documents.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mm_kptm.data.formats.documents import DocumentSentence, written
from mm_kptm.data.packing import Packed
from mm_kptm.data.token_store import Tokenized
from mm_kptm.data.tokenizers.batch import IDS, STARTS, STOPS, Characters, encode_batch
from mm_kptm.data.tokenizers.protocol import Tokenizer
from mm_kptm.knowledge.linking.mention_index import MentionIndex

UNITS, CAPITALS, DOCUMENT = "units", "capitals", "document"

Phrases = Callable[[Sequence[str]], Sequence[Sequence[tuple[int, int]]]]


def found_phrases(names: MentionIndex, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
    """The characters of the phrases in every text."""
    found: list[list[tuple[int, int]]] = [[] for _ in texts]
    for text, start, end, _ in names.find(list(texts)):
        found[text].append((start, end))
    return found


@dataclass(frozen=True, eq=False)
class TokenizedDocuments:
    """Documents as sentences of pieces; reading a sentence looks it up where it lies."""

    sentences: Packed  #: columns ids, units, capitals
    of_document: NDArray[np.generic]  #: document of every sentence, ascending, [S]

    @classmethod
    def of(cls, documents: Sequence[Sequence[DocumentSentence]]) -> TokenizedDocuments:
        """From sentences in memory."""
        said = [sentence for document in documents for sentence in document]
        numbers = [number for number, document in enumerate(documents) for _ in document]
        packed = Packed.of(
            ids=[one.ids for one in said],
            units=[one.units for one in said],
            capitals=[one.capitals for one in said],
        )
        return cls(packed, np.array(numbers, dtype=np.int64))

    @classmethod
    def read(cls, found: Tokenized) -> TokenizedDocuments:
        """From what :class:`SentenceTokenizer` made."""
        return cls(found.rows, found.of_sequences[DOCUMENT])

    @cached_property
    def firsts(self) -> NDArray[np.int64]:
        """First sentence of every document, and the end, [D + 1]."""
        others = np.flatnonzero(self.of_document[1:] != self.of_document[:-1]) + 1
        return np.concatenate([np.zeros(min(1, len(self.of_document)), np.int64), others, [len(self.of_document)]])

    def __len__(self) -> int:
        return len(self.firsts) - 1

    def ids(self, first: int, end: int) -> tuple[int, ...]:
        """The pieces of successive sentences."""
        offsets = self.sentences.offsets
        ids = tuple(self.sentences.columns[IDS][offsets[first] : offsets[end]].tolist())
        self.sentences.mark_read(1)
        return ids


@dataclass(frozen=True, eq=False)
class SentenceTokenizer:
    """Tokenizes sentences of documents, many at once; a sentence is as :func:`~.formats.documents.written` makes it.

    Args:
        tokenizer: the tokenizer.
        blanks: whether words are what stands between blanks; else pieces that ``##`` joins.
        phrases: finds the characters of the phrases in sentences, each of which is one unit; None: there are none.
    """

    tokenizer: Tokenizer
    blanks: bool
    phrases: Phrases | None = None

    def __call__(self, items: Sequence[tuple[int, str]]) -> Tokenized:
        """The sentences, each given with the number of its document; one without a piece is dropped and counted."""
        texts = [text for _, text in items]
        documents = np.fromiter((number for number, _ in items), np.int64, len(items))
        phrases = [()] * len(texts) if self.phrases is None else self.phrases(texts)
        packed = self._tokenized(texts, np.array([bool(found) for found in phrases], dtype=np.bool_), phrases)
        kept = np.flatnonzero(packed.lengths)
        columns, lengths = packed.take(kept)
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
        dropped = len(texts) - len(kept)
        return Tokenized(
            Packed(offsets, columns),
            {DOCUMENT: documents[kept]},
            {"sentences without a token": dropped} if dropped else {},
        )

    def _tokenized(
        self, texts: Sequence[str], held: NDArray[np.bool_], phrases: Sequence[Sequence[tuple[int, int]]]
    ) -> Packed:
        """Every sentence; those in which phrases stand, or words that a scan does not find, are made one by one."""
        pieces = encode_batch(self.tokenizer, texts)
        owner = np.repeat(np.arange(len(texts)), pieces.lengths)
        characters = Characters.of(texts)
        first = characters.firsts[owner]
        starts, stops = (first + pieces.columns[name].astype(np.int64) for name in (STARTS, STOPS))
        opens = np.diff(owner, prepend=-1) != 0  # the first piece of a sentence
        apart = starts >= stops
        if self.blanks:
            blank = characters.blank
            before = np.concatenate([[0], blank.cumsum()])
            apart |= before[stops] > before[starts]
            begins = ~blank & np.concatenate([[True], blank[:-1]])
            begins[characters.firsts[characters.firsts < len(blank)]] = True
            words = begins.cumsum()[np.minimum(starts, len(blank) - 1)] if len(blank) else starts
            changes = opens | (np.diff(words, prepend=-1) != 0)
        else:
            changes = opens | ~self._continues[pieces.columns[IDS]]
            apart[1:] |= ~opens[1:] & (starts[1:] < stops[:-1])
        odd = np.bincount(owner, weights=apart, minlength=len(texts)) > 0
        word = changes.cumsum()
        upper = np.concatenate([[0], characters.upper.cumsum()])
        large = np.bincount(word, weights=upper[stops] > upper[starts]) > 0
        units = word - np.maximum.accumulate(np.where(opens, word, 0))
        found = Packed(
            pieces.offsets,
            {IDS: pieces.columns[IDS], UNITS: units, CAPITALS: large[word].astype(np.int64)},
        )
        return self._corrected(found, texts, np.flatnonzero(odd | held), phrases)

    def _corrected(
        self,
        found: Packed,
        texts: Sequence[str],
        places: NDArray[np.int64],
        phrases: Sequence[Sequence[tuple[int, int]]],
    ) -> Packed:
        """The same with the sentences of some places made one by one; their pieces are the same."""
        for place in places.tolist():
            one = written(texts[place], self.tokenizer, phrases[place], blanks=self.blanks)
            rows = slice(found.offsets[place], found.offsets[place + 1])
            found.columns[UNITS][rows] = one.units
            found.columns[CAPITALS][rows] = one.capitals
        return found

    @cached_property
    def _continues(self) -> NDArray[np.bool_]:
        return np.array([piece.startswith("##") for piece in self.tokenizer.vocabulary], dtype=np.bool_)
