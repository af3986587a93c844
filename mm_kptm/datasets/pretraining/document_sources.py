"""Sources of document objectives: segments, sentence pairs by distance, labelled pairs.

Labels of rows or pairs are token labels (:class:`mm_kptm.batch.Tokens`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mm_kptm.batch import Inputs
from mm_kptm.data.formats.documents import read_labelled_pairs
from mm_kptm.data.packing import Packed
from mm_kptm.data.tokenizers.protocol import Specials, Tokenizer, framed
from mm_kptm.datasets.pretraining.document_segments import Chunks, Segments
from mm_kptm.errors import UserError
from mm_kptm.objectives.order import FOLLOWS
from mm_kptm.preprocessing.inputs import MARK, InputSource
from mm_kptm.preprocessing.text import shortened
from mm_kptm.preprocessing.tokenized_documents import TokenizedDocuments

NEAR, SAME_DOCUMENT, OTHER_DOCUMENT = 0, 1, 2  #: the classes of sentence distance (Sun et al. 2020, section 4.2.2)


def segments(
    documents: TokenizedDocuments, specials: Specials, max_length: int, parts: int, *, document_words: bool = False
) -> Segments:
    """Neighbouring sentences as texts of one part, or of two halves; a text of one sentence has no halves.

    Raises:
        UserError: no document has two neighbouring sentences that fit, and two parts are asked for.
    """
    room = max_length - specials.around(parts)
    chunks = Chunks.of(documents, room)
    if parts > 1:
        chunks = chunks.take(chunks.middles < chunks.ends)
    if not len(chunks):
        raise UserError(
            "pairs of segments were asked for, but no document has two neighbouring sentences of "
            f"{max_length - specials.around(2)} pieces together; give longer documents or a larger data.max_length"
        )
    return Segments(documents, chunks, specials, room, parts, document_words)


@dataclass(frozen=True, eq=False)
class Distances:
    """Pairs of sentences: neighbours, of one document but no neighbours, or of two documents.

    The first is given; how far the second one is, and which it is, is drawn for every batch.

    Args:
        documents: in sentences.
        firsts: every first sentence.
        specials: stand around the two.
        longest: pieces of a pair.
    """

    documents: TokenizedDocuments
    firsts: NDArray[np.int64]
    specials: Specials
    max_length: int

    @classmethod
    def of(cls, documents: TokenizedDocuments, specials: Specials, max_length: int) -> Distances:
        """Every sentence that has a next one is a first one.

        Raises:
            UserError: there are fewer than two documents, or none has two sentences.
        """
        followed = np.ones(int(documents.firsts[-1]), np.bool_)
        followed[documents.firsts[1:] - 1] = False
        firsts = np.flatnonzero(followed)
        if len(documents) < 2 or not len(firsts):
            raise UserError(
                f"sentence-distance needs sentences of one document and of two, but there are {len(documents)} "
                f"documents with {len(firsts)} neighbouring sentences; set documents apart by blank lines"
            )
        return cls(documents, firsts, specials, max_length)

    def __len__(self) -> int:
        return len(self.firsts)

    def length(self, index: int) -> int:
        """Pieces of the first sentence and the one behind it."""
        offsets, first = self.documents.sentences.offsets, int(self.firsts[index])
        return int(offsets[first + 2] - offsets[first]) + self.specials.around(2)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Inputs:
        """The given sentences, each with another one; the token label ``sentence-distance`` is the class."""
        columns: dict[str, list[Sequence[int]]] = {}
        for first in self.firsts[list(indices)].tolist():
            other, distance = self._second(first, generator)
            room = self.max_length - self.specials.around(2)
            said = (self.documents.ids(sentence, sentence + 1) for sentence in (first, other))
            kept = shortened(*said, room=room)
            for name, column in _pair(*kept, "sentence-distance", distance, self.specials).items():
                columns.setdefault(name, []).append(column)
        packed = Packed.of(**columns)
        return InputSource(packed).batch(range(len(packed)), generator)

    def _second(self, sentence: int, generator: torch.Generator) -> tuple[int, int]:
        """Another sentence, and its distance; each that there is, is as likely."""
        bounds = self.documents.firsts
        document = int(np.searchsorted(bounds, sentence, side="right")) - 1
        start, end = int(bounds[document]), int(bounds[document + 1])
        apart = end - start - min(end, sentence + 2) + max(start, sentence - 1)  # not beside it
        distance = _drawn(3 if apart else 2, generator)
        if distance == NEAR:
            return sentence + 1, NEAR
        if distance == SAME_DOCUMENT and apart:
            drawn = start + _drawn(apart, generator)
            beside = min(end, sentence + 2) - max(start, sentence - 1)
            return drawn if drawn < sentence - 1 else drawn + beside, SAME_DOCUMENT
        other = (document + 1 + _drawn(len(self.documents) - 1, generator)) % len(self.documents)
        first = int(bounds[other])
        return first + _drawn(int(bounds[other + 1]) - first, generator), OTHER_DOCUMENT


@dataclass(frozen=True, eq=False)
class NextSentences:
    """Segments of which the second follows the first, or is of another document (Devlin et al. 2019, app. A.2).

    As in the released code each text is as much of a document as fits, cut between two sentences; in half of the
    cases the rest is exchanged for sentences of another document. Which, and where it begins, is drawn for every batch.

    Args:
        documents: in sentences.
        texts: as much of a document as fits, in two halves.
        specials: stand around the two.
        max_length: pieces of a pair, special ones included.
        rate: share of pairs whose second segment is of another document.
    """

    documents: TokenizedDocuments
    texts: Segments
    specials: Specials
    max_length: int
    rate: float = 0.5

    @classmethod
    def of(cls, documents: TokenizedDocuments, specials: Specials, max_length: int) -> NextSentences:
        """Every text of two sentences or more is a pair.

        Raises:
            UserError: there are fewer than two documents, or none has two neighbouring sentences that fit.
        """
        room = max_length - specials.around(2)
        chunks = Chunks.of(documents, room)
        pairs = chunks.take(chunks.middles < chunks.ends)
        if len(documents) < 2 or not len(pairs):
            raise UserError(
                f"next-sentence needs consecutive segments and segments of two documents, but there are "
                f"{len(documents)} documents with {len(pairs)} pairs of neighbouring segments; set documents apart by "
                "blank lines, or give a larger data.max_length"
            )
        return cls(documents, Segments(documents, pairs, specials, room, 2), specials, max_length)

    def __len__(self) -> int:
        return len(self.texts)

    def length(self, index: int) -> int:
        """Pieces of the original text."""
        return self.texts.length(index)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Inputs:
        """The given texts; the token label ``follows`` is 1 where the second segment follows."""
        columns: dict[str, list[Sequence[int]]] = {}
        for index in indices:
            first, second = self.texts.halves(index)
            follows = bool(torch.rand(1, generator=generator) >= self.rate)
            room = self.max_length - self.specials.around(2)
            kept = shortened(first, second if follows else self._other(index, generator), room=room)
            for name, column in _pair(*kept, FOLLOWS, int(follows), self.specials).items():
                columns.setdefault(name, []).append(column)
        packed = Packed.of(**columns)
        return InputSource(packed).batch(range(len(packed)), generator)

    def _other(self, index: int, generator: torch.Generator) -> tuple[int, ...]:
        """Another document than that of a text, from one of its sentences on."""
        bounds = self.documents.firsts
        document = int(np.searchsorted(bounds, self.texts.chunks.firsts[index], side="right")) - 1
        other = (document + 1 + _drawn(len(self.documents) - 1, generator)) % len(self.documents)
        first, end = int(bounds[other]), int(bounds[other + 1])
        start = first + _drawn(end - first, generator)
        # no more sentences than can be read: a document may be long
        return self.documents.ids(start, min(end, start + self.max_length))


def labelled_pairs(path: Path, name: str, labels: Sequence[str], tokenizer: Tokenizer, max_length: int) -> InputSource:
    """The pairs of a file, each with its label as the token label ``name``.

    Raises:
        UserError: the file cannot be read, or a label is not among those of training.
    """
    columns: dict[str, list[Sequence[int]]] = {}
    room = max_length - tokenizer.specials.around(2)
    for pair in read_labelled_pairs(path):
        if pair.label not in labels:
            raise UserError(f"{path} has the label {pair.label!r}, which training has not: {', '.join(labels)}")
        parts = shortened(tokenizer.encode(pair.first).ids, tokenizer.encode(pair.second).ids, room=room)
        for column, values in _pair(*parts, name, labels.index(pair.label), tokenizer.specials).items():
            columns.setdefault(column, []).append(values)
    return InputSource(Packed.of(**columns))


def _pair(
    first: Sequence[int], second: Sequence[int], mark: str, label: int, specials: Specials
) -> dict[str, Sequence[int]]:
    ids, numbers = framed(specials, first, second)
    return {"ids": ids, "segments": numbers, "positions": range(len(ids)), f"{MARK}{mark}": [label] * len(ids)}


def _drawn(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (1,), generator=generator))
