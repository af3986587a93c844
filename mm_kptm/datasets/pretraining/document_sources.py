"""Sources of document objectives: segments, sentence pairs by distance, labelled pairs.

Labels of rows or pairs are token labels (:class:`mm_kptm.batch.Tokens`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from mm_kptm.batch import Inputs
from mm_kptm.data.formats.documents import DocumentSentence, chunks, halves, read_labelled_pairs
from mm_kptm.data.masking.units import NO_GROUP
from mm_kptm.data.packing import Packed
from mm_kptm.data.tokenizers.protocol import Specials, Tokenizer, framed
from mm_kptm.errors import UserError
from mm_kptm.objectives.order import FOLLOWS
from mm_kptm.preprocessing.inputs import MARK, InputSource
from mm_kptm.preprocessing.text import shortened

NOT_ASKED = -1
NEAR, SAME_DOCUMENT, OTHER_DOCUMENT = 0, 1, 2  #: the classes of sentence distance (Sun et al. 2020, section 4.2.2)

Parts = tuple[Sequence[DocumentSentence], ...]


def segments(
    documents: Sequence[Sequence[DocumentSentence]], specials: Specials, max_length: int, parts: int
) -> InputSource:
    """Neighbouring sentences as texts of one part, or of two halves; a text of one sentence has no halves.

    Token labels: ``capitalization`` and ``document-words`` of every piece (the latter where its document has other
    segments), and ``sentence``, the number of its sentence in the text.

    Raises:
        UserError: no document has two neighbouring sentences that fit, and two parts are asked for.
    """
    columns: dict[str, list[Sequence[int]]] = {}
    for document in documents:
        whole = list(chunks(document, max_length - specials.around(parts)))
        for place, chunk in enumerate(whole):
            others = {token for at, other in enumerate(whole) if at != place for one in other for token in one.ids}
            split: Parts | None = (chunk,) if parts == 1 else halves(chunk)
            if split is not None:
                for name, column in _columns(split, others if len(whole) > 1 else None, specials).items():
                    columns.setdefault(name, []).append(column)
    if not columns:
        raise UserError(
            "pairs of segments were asked for, but no document has two neighbouring sentences of "
            f"{max_length - specials.around(2)} pieces together; give longer documents or a larger data.max_length"
        )
    return InputSource(Packed.of(**columns))


def _columns(parts: Parts, others: set[int] | None, specials: Specials) -> dict[str, list[int]]:
    """Every column of a text; ``others`` are the tokens of the other segments of its document, if it has any."""
    ids, numbers = framed(specials, *([token for one in part for token in one.ids] for part in parts))
    columns = {"ids": ids, "segments": numbers, "positions": list(range(len(ids)))}
    units, capitals, words, sentence = [NO_GROUP], [NOT_ASKED], [NOT_ASKED], [NOT_ASKED]
    units_so_far, sentences_so_far = 0, 0
    for part in parts:
        for one in part:
            units += [units_so_far + unit for unit in one.units]
            capitals += map(int, one.capitals)
            words += [NOT_ASKED if others is None else int(token in others) for token in one.ids]
            sentence += [sentences_so_far] * len(one.ids)
            units_so_far += max(one.units, default=-1) + 1
            sentences_so_far += 1
        for column in (units, capitals, words, sentence):
            column.append(NOT_ASKED)
    marks = {f"{MARK}capitalization": capitals, f"{MARK}document-words": words, f"{MARK}sentence": sentence}
    return {**columns, "units": units, **marks}


@dataclass(frozen=True, eq=False)
class Distances:
    """Pairs of sentences: neighbours, of one document but no neighbours, or of two documents.

    The first is given; how far the second one is, and which it is, is drawn for every batch.

    Args:
        documents: the pieces of their sentences.
        firsts: document and place of every first sentence.
        specials: stand around the two.
        longest: pieces of a pair.
    """

    documents: Sequence[Sequence[tuple[int, ...]]]
    firsts: Sequence[tuple[int, int]]
    specials: Specials
    max_length: int

    @classmethod
    def of(cls, documents: Sequence[Sequence[DocumentSentence]], specials: Specials, max_length: int) -> Distances:
        """Every sentence that has a next one is a first one.

        Raises:
            UserError: there are fewer than two documents, or none has two sentences.
        """
        pieces = [[sentence.ids for sentence in document] for document in documents]
        firsts = [(number, place) for number, document in enumerate(pieces) for place in range(len(document) - 1)]
        if len(pieces) < 2 or not firsts:
            raise UserError(
                f"sentence-distance needs sentences of one document and of two, but there are {len(pieces)} "
                f"documents with {len(firsts)} neighbouring sentences; set documents apart by blank lines"
            )
        return cls(pieces, firsts, specials, max_length)

    def __len__(self) -> int:
        return len(self.firsts)

    def length(self, index: int) -> int:
        """Pieces of the first sentence and the one behind it."""
        document, place = self.firsts[index]
        return sum(len(sentence) for sentence in self.documents[document][place : place + 2]) + self.specials.around(2)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Inputs:
        """The given sentences, each with another one; the token label ``sentence-distance`` is the class."""
        columns: dict[str, list[Sequence[int]]] = {}
        for document, place in (self.firsts[index] for index in indices):
            second, distance = self._second(document, place, generator)
            room = self.max_length - self.specials.around(2)
            kept = shortened(self.documents[document][place], second, room=room)
            for name, column in _pair(*kept, "sentence-distance", distance, self.specials).items():
                columns.setdefault(name, []).append(column)
        packed = Packed.of(**columns)
        return InputSource(packed).batch(range(len(packed)), generator)

    def _second(self, document: int, place: int, generator: torch.Generator) -> tuple[tuple[int, ...], int]:
        """Another sentence, and its distance; each that there is, is as likely."""
        own = self.documents[document]
        apart = [at for at in range(len(own)) if abs(at - place) > 1]
        distance = _drawn(3 if apart else 2, generator)
        if distance == NEAR:
            return own[place + 1], NEAR
        if distance == SAME_DOCUMENT and apart:
            return own[apart[_drawn(len(apart), generator)]], SAME_DOCUMENT
        other = self.documents[(document + 1 + _drawn(len(self.documents) - 1, generator)) % len(self.documents)]
        return other[_drawn(len(other), generator)], OTHER_DOCUMENT


@dataclass(frozen=True, eq=False)
class NextSentences:
    """Segments of which the second follows the first, or is of another document (Devlin et al. 2019, app. A.2).

    As in the released code each text is as much of a document as fits, cut between two sentences; in half of the
    cases the rest is exchanged for sentences of another document. Which, and where it begins, is drawn for every batch.

    Args:
        documents: in sentences.
        texts: the document of every text, and its two parts, in pieces.
        specials: stand around the two.
        max_length: pieces of a pair, special ones included.
        rate: share of pairs whose second segment is of another document.
    """

    documents: Sequence[Sequence[tuple[int, ...]]]
    texts: Sequence[tuple[int, tuple[int, ...], tuple[int, ...]]]
    specials: Specials
    max_length: int
    rate: float = 0.5

    @classmethod
    def of(cls, documents: Sequence[Sequence[DocumentSentence]], specials: Specials, max_length: int) -> NextSentences:
        """Every text of two sentences or more is a pair.

        Raises:
            UserError: there are fewer than two documents, or none has two neighbouring sentences that fit.
        """
        found = []
        for number, document in enumerate(documents):
            for chunk in chunks(document, max_length - specials.around(2)):
                if (parts := halves(chunk)) is not None:
                    first, second = (tuple(token for one in part for token in one.ids) for part in parts)
                    found.append((number, first, second))
        if len(documents) < 2 or not found:
            raise UserError(
                f"next-sentence needs consecutive segments and segments of two documents, but there are "
                f"{len(documents)} documents with {len(found)} pairs of neighbouring segments; set documents apart by "
                "blank lines, or give a larger data.max_length"
            )
        return cls([[sentence.ids for sentence in document] for document in documents], found, specials, max_length)

    def __len__(self) -> int:
        return len(self.texts)

    def length(self, index: int) -> int:
        """Pieces of the original text."""
        _, first, second = self.texts[index]
        return len(first) + len(second) + self.specials.around(2)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Inputs:
        """The given texts; the token label ``follows`` is 1 where the second segment follows."""
        columns: dict[str, list[Sequence[int]]] = {}
        for document, first, second in (self.texts[index] for index in indices):
            follows = bool(torch.rand(1, generator=generator) >= self.rate)
            room = self.max_length - self.specials.around(2)
            kept = shortened(first, second if follows else self._other(document, generator), room=room)
            for name, column in _pair(*kept, FOLLOWS, int(follows), self.specials).items():
                columns.setdefault(name, []).append(column)
        packed = Packed.of(**columns)
        return InputSource(packed).batch(range(len(packed)), generator)

    def _other(self, document: int, generator: torch.Generator) -> tuple[int, ...]:
        """Another document from one of its sentences on."""
        other = self.documents[(document + 1 + _drawn(len(self.documents) - 1, generator)) % len(self.documents)]
        return tuple(token for sentence in other[_drawn(len(other), generator) :] for token in sentence)


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
