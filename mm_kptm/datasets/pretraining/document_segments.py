"""Texts of neighbouring sentences, put together when a batch reads them.

Shapes: N texts, S sentences, D documents; C sentences and R pieces of the texts of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from mm_kptm.batch import Inputs
from mm_kptm.data.masking.units import NO_GROUP
from mm_kptm.data.packing import Packed, gather
from mm_kptm.data.tokenizers.batch import IDS
from mm_kptm.data.tokenizers.protocol import Specials
from mm_kptm.preprocessing.inputs import MARK, InputSource
from mm_kptm.preprocessing.tokenized_documents import CAPITALS, UNITS, TokenizedDocuments

NOT_ASKED = -1
BLOCK = 1 << 16  #: sentences that are cut at once, so that what is made on the way stays small
IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Chunks:
    """Runs of successive sentences of one document that fit a length, and the middle of each."""

    firsts: IntArray  #: first sentence, [N]
    ends: IntArray  #: the one behind the last, [N]
    middles: IntArray  #: the sentence that opens the second half; ``ends`` where there is one sentence, [N]
    pieces: IntArray  #: pieces of its sentences, each of at most the length, [N]

    @classmethod
    def of(cls, documents: TokenizedDocuments, room: int) -> Chunks:
        """Chunks of at most ``room`` pieces, each as many sentences as fit; longer sentences count as ``room``."""
        bounds, offsets = documents.firsts, documents.sentences.offsets
        found = []
        first = 0
        while first < len(bounds) - 1:  # whole documents, of about as many sentences at once
            last = max(first + 1, int(np.searchsorted(bounds, bounds[first] + BLOCK, side="right")) - 1)
            start, end = int(bounds[first]), int(bounds[last])
            lengths = np.minimum(np.diff(offsets[start : end + 1]), room)
            places, pieces = _chunks(lengths, bounds[first:last] - start, room)
            found.append(np.concatenate([places + start, pieces[None]]))
            first = last
        return cls(*(np.concatenate(found, axis=1) if found else np.zeros((4, 0), np.int64)))

    def __len__(self) -> int:
        return len(self.firsts)

    def take(self, chosen: NDArray[np.bool_]) -> Chunks:
        """Some of the chunks."""
        return Chunks(self.firsts[chosen], self.ends[chosen], self.middles[chosen], self.pieces[chosen])


def _chunks(lengths: IntArray, documents: IntArray, room: int) -> tuple[IntArray, IntArray]:
    """First sentences, ends and middles of the chunks of some documents, [3, N], and the pieces of each, [N].

    Args:
        lengths: pieces of every sentence.
        documents: first sentence of each of them, from 0.
        room: pieces of a chunk.
    """
    opens, held = [], 0
    starts = np.zeros(len(lengths), np.bool_)
    starts[documents] = True
    for place, (length, start) in enumerate(zip(lengths.tolist(), starts.tolist(), strict=True)):
        held += length
        if start or held > room:
            opens.append(place)
            held = length
    firsts = np.array(opens, dtype=np.int64)
    ends = np.append(firsts[1:], len(lengths))
    return np.stack([firsts, ends, _middles(lengths, firsts, ends)]), np.add.reduceat(lengths, firsts)


def _middles(lengths: IntArray, firsts: IntArray, ends: IntArray) -> IntArray:
    """The sentence boundary nearest to the middle of every chunk, the first of two that are as near."""
    before = np.concatenate([[0], lengths.cumsum()])
    owner = np.repeat(np.arange(len(firsts)), ends - firsts)
    places = np.arange(len(lengths))
    from_middle = np.abs(2 * (before[places] - before[firsts[owner]]) - (before[ends] - before[firsts])[owner])
    inside = places > firsts[owner]
    places, owner, from_middle = places[inside], owner[inside], from_middle[inside]
    order = np.lexsort((places, from_middle, owner))
    found, at = np.unique(owner[order], return_index=True)
    middles = ends.copy()
    middles[found] = places[order][at]
    return middles


@dataclass(frozen=True, eq=False)
class Segments:
    """Chunks of documents as texts of one part, or of two halves.

    Token labels: ``capitalization`` of every piece, ``sentence``, the number of its sentence in the text, and, where
    they are asked for, ``document-words``, whether other chunks of its document have it.

    Args:
        documents: the documents.
        chunks: the texts.
        specials: stand around the parts.
        room: pieces of a text, without special ones.
        parts: 1 or 2.
        document_words: whether the label of that name is there.
    """

    documents: TokenizedDocuments
    chunks: Chunks
    specials: Specials
    room: int
    parts: int
    document_words: bool = False

    def __len__(self) -> int:
        return len(self.chunks)

    @cached_property
    def lengths(self) -> IntArray:
        """Tokens of every text, special ones included, [N]."""
        return self.chunks.pieces + self.specials.around(self.parts)

    def length(self, index: int) -> int:
        """Tokens of a text, special ones included."""
        return int(self.lengths[index])

    def halves(self, index: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The pieces of both halves of a text."""
        chunks, offsets = self.chunks, self.documents.sentences.offsets
        first, middle, end = (int(column[index]) for column in (chunks.firsts, chunks.middles, chunks.ends))
        rows = (_first_rows(offsets, np.arange(*part), self.room)[0] for part in ((first, middle), (middle, end)))
        one, other = (tuple(self.documents.sentences.columns[IDS][part].tolist()) for part in rows)
        return one, other

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Inputs:
        """The texts of the given indices."""
        packed = self._packed(np.asarray(indices, dtype=np.int64))
        return InputSource(packed).batch(range(len(packed)), generator)

    def _packed(self, chosen: IntArray) -> Packed:
        firsts, ends, middles = (
            column[chosen] for column in (self.chunks.firsts, self.chunks.ends, self.chunks.middles)
        )
        counts = ends - firsts
        text = np.repeat(np.arange(len(chosen)), counts)  # of every sentence, [C]
        in_text = np.arange(len(text)) - np.repeat(counts.cumsum() - counts, counts)
        sentences = firsts[text] + in_text
        second = (sentences >= middles[text]) if self.parts > 1 else np.zeros(len(text), np.bool_)
        rows, lengths = _first_rows(self.documents.sentences.offsets, sentences, self.room)
        of = np.repeat(np.arange(len(sentences)), lengths)  # sentence of every piece, [R]
        columns = {name: column[rows].astype(np.int64) for name, column in self.documents.sentences.columns.items()}
        self.documents.sentences.mark_read(len(chosen))
        units = np.zeros(len(sentences), np.int64)  # that the sentences have
        np.maximum.at(units, of, columns[UNITS] + 1)
        before = units.cumsum() - units
        opening = np.flatnonzero(in_text == 0)
        before -= before[opening][text]

        sizes = self.lengths[chosen]
        offsets = np.concatenate([[0], sizes.cumsum()])
        pieces = np.bincount(text, weights=lengths, minlength=len(chosen)).astype(np.int64)
        opens = int(self.specials.opens)
        place = offsets[text[of]] + opens + second[of] * self.specials.between
        place += np.arange(len(of)) - np.repeat(pieces.cumsum() - pieces, pieces)
        total = int(offsets[-1])
        ids = np.full(total, self.specials.stop, np.int64)
        if opens:
            ids[offsets[:-1]] = self.specials.start
        segments = np.zeros(total, np.int64)
        if self.parts > 1:
            halves = np.bincount(text, weights=lengths * ~second, minlength=len(chosen)).astype(np.int64)
            halves += opens + self.specials.between
            at = np.arange(total) - np.repeat(offsets[:-1], sizes)
            segments = (at >= np.repeat(halves, sizes)).astype(np.int64)
        found = {"ids": ids, "segments": segments, "positions": np.arange(total) - np.repeat(offsets[:-1], sizes)}
        found["ids"][place] = columns[IDS]
        marks = {"capitalization": columns[CAPITALS], "sentence": in_text[of]}
        if self.document_words:
            marks["document-words"] = self._elsewhere(chosen, columns[IDS], pieces)
        for name, values in {"units": columns[UNITS] + before[of], **_marked(marks)}.items():
            found[name] = np.full(total, NO_GROUP if name == "units" else NOT_ASKED, np.int64)
            found[name][place] = values
        return Packed(offsets, found)

    @cached_property
    def _of_chunk(self) -> IntArray:
        """Document of every chunk of :attr:`all_chunks`."""
        return self.documents.of_document[self.all_chunks.firsts].astype(np.int64)

    @cached_property
    def all_chunks(self) -> Chunks:
        """Every chunk of the documents, those without halves too."""
        return Chunks.of(self.documents, self.room)

    @property
    def has_document_words(self) -> bool:
        """Whether some document has several texts."""
        return len(self._of_chunk) > 0 and bool((np.bincount(self._of_chunk) > 1).any())

    def _elsewhere(self, chosen: IntArray, ids: IntArray, pieces: IntArray) -> IntArray:
        """Whether each piece of the texts is in other chunks of its document; not asked where there is no other."""
        offsets, found = self.documents.sentences.offsets, []
        for first, mine in zip(self.chunks.firsts[chosen], np.split(ids, pieces.cumsum()[:-1]), strict=True):
            document = int(self.documents.of_document[first])
            start, end = np.searchsorted(self._of_chunk, [document, document + 1])
            others = np.arange(start, end)[self.all_chunks.firsts[start:end] != first]
            if not len(others):
                found.append(np.full(len(mine), NOT_ASKED, np.int64))
                continue
            sentences = np.concatenate(
                [np.arange(self.all_chunks.firsts[one], self.all_chunks.ends[one]) for one in others]
            )
            rows, _ = _first_rows(offsets, sentences, self.room)
            found.append(np.isin(mine, self.documents.sentences.columns[IDS][rows]).astype(np.int64))
        return np.concatenate(found) if found else np.zeros(0, np.int64)


@dataclass(frozen=True, eq=False)
class PlainTexts:
    """Neighbouring sentences in a row, as many as fit, without special tokens (Su et al. 2020, section 3.3).

    The released code reads on into the next document and cuts the last sentence; here texts end with a sentence.

    Args:
        documents: in sentences.
        max_length: pieces of a text; a longer sentence is cut.
    """

    documents: TokenizedDocuments
    chunks: Chunks
    max_length: int

    @classmethod
    def of(cls, documents: TokenizedDocuments, max_length: int) -> PlainTexts:
        """Every sentence is in one text."""
        return cls(documents, Chunks.of(documents, max_length), max_length)

    def __len__(self) -> int:
        return len(self.chunks)

    @property
    def lengths(self) -> IntArray:
        """Pieces of every text, [N]."""
        return self.chunks.pieces

    def length(self, index: int) -> int:
        """Pieces of a text."""
        return int(self.chunks.pieces[index])

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Inputs:
        """The texts of the given indices."""
        bounds = ((int(self.chunks.firsts[index]), int(self.chunks.ends[index])) for index in indices)
        ids = [self.documents.ids(*bound)[: self.max_length] for bound in bounds]
        packed = Packed.of(ids=ids, positions=[range(len(one)) for one in ids])
        return InputSource(packed).batch(range(len(packed)), generator)


def _marked(marks: dict[str, IntArray]) -> dict[str, IntArray]:
    return {f"{MARK}{name}": values for name, values in marks.items()}


def _first_rows(offsets: IntArray, sentences: IntArray, room: int) -> tuple[IntArray, IntArray]:
    """The rows of the first ``room`` pieces of sentences, end to end, and how many each has."""
    rows, lengths = gather(offsets, sentences)
    kept = np.minimum(lengths, room)
    if (kept == lengths).all():
        return rows, lengths
    within = np.arange(len(rows)) - np.repeat(lengths.cumsum() - lengths, lengths)
    return rows[within < room], kept
