"""Pretraining instances with entities: two spans of text, hidden tokens, and where entities stand (Zhang et al. 2019).

The released script, value by value for the same :class:`random.Random`; its two slips in thinning runs of one entity
(:func:`alternating`) are there to be asked for.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from mm_kptm.data.masking.static import Treatment, hide
from mm_kptm.data.masking.units import NO_GROUP
from mm_kptm.data.tokenizers.protocol import Specials
from mm_kptm.errors import UserError
from mm_kptm.io.text_lines import numbered_lines
from mm_kptm.knowledge.embedding.entity_table import NOTHING

UNHIDDEN = -1  #: the label of a token that is not to be predicted
BERT_UNCASED = Specials(pad=0, unknown=100, start=101, stop=102, mask=103)

Row = tuple[int, int]  #: a token and the entity at it
Document = Sequence[Sequence[Row]]  #: sentences
Thinning = Callable[[Sequence[int], Sequence[bool]], list[int]]


def first_of_run(values: Sequence[int], named: Sequence[bool]) -> list[int]:
    """Keep an entity at the first token of its mention: of neighbours that name the same one, only the first.

    Args:
        values: a line of the file: numbers of sentences and of their tokens, and entities.
        named: which of them are entities.

    >>> first_of_run([4, 7, 7, 7], [False, True, True, True])
    [4, 7, -1, -1]
    """
    repeats = [False, *(a == b and known for (a, b), known in zip(pairwise(values), named, strict=False))]
    return [NOTHING if same and known else value for value, known, same in zip(values, named, repeats, strict=True)]


def alternating(values: Sequence[int], named: Sequence[bool]) -> list[int]:
    """The released code's thinning, which compares with what it has just written, even with a number of tokens.

    So every second token of a mention keeps its entity, and a sentence whose length happens to be the number of the
    entity that it begins with loses that one.

    >>> alternating([4, 7, 7, 7], [False, True, True, True])
    [4, 7, -1, 7]
    """
    thinned = list(values)
    for place in range(1, len(thinned)):
        if named[place] and thinned[place] == thinned[place - 1]:
            thinned[place] = NOTHING
    return thinned


def read_documents(
    tokens: str | Path, entities: str | Path, numbers: Mapping[str, int], *, thin: Thinning = first_of_run
) -> list[Document]:
    """Documents from two parallel files, a document a line; those without a sentence are left out.

    A line is numbers set apart by tabs: how many sentences, then for every sentence how many tokens and their ids. The
    second file has the name of an entity, or ``#UNK#``, in place of every id.

    Raises:
        UserError: a file is missing, the two do not run in parallel, or a line is not of that form.
    """
    files = Path(tokens), Path(entities)
    for file in files:
        if not file.is_file():
            raise UserError(f"documents were looked for in {file}, but there is no such file")
    lines, named_lines = ([line for _, line in numbered_lines(file)] for file in files)
    if len(lines) != len(named_lines):
        raise UserError(f"{files[0]} has {len(lines)} lines and {files[1]} {len(named_lines)}; they run in parallel")
    documents: list[Document] = []
    for place, (line, named_line) in enumerate(zip(lines, named_lines, strict=True), start=1):
        ids = _whole_numbers(line, f"{files[0]}, line {place}")
        found = _entities(named_line, numbers, f"{files[1]}, line {place}", thin)
        document = _sentences(ids, found, f"{files[0]}, line {place}")
        if document:
            documents.append(document)
    return documents


def _whole_numbers(line: str, where: str) -> list[int]:
    try:
        return [int(part) for part in line.split()]
    except ValueError:
        raise UserError(f"{where}: a document is whole numbers set apart by tabs, not {line[:40]!r}") from None


def _entities(line: str, numbers: Mapping[str, int], where: str, thin: Thinning) -> list[int]:
    values, named = [], []
    for part in line.split():
        known = part in numbers
        if not known and not part.isdigit():
            values.append(NOTHING)  # no entity, or one without a vector
        else:
            values.append(numbers[part] if known else int(part))
        named.append(known)
    if not values:
        raise UserError(f"{where} is empty; it begins with the number of sentences")
    return thin(values, named)


def _sentences(ids: Sequence[int], entities: Sequence[int], where: str) -> list[list[Row]]:
    if len(ids) != len(entities) or not ids:
        raise UserError(f"{where} has {len(ids)} numbers, but the entities beside it are {len(entities)}")
    sentences, place = [], 1
    for _ in range(ids[0]):
        if place >= len(ids) or place + ids[place] >= len(ids):
            raise UserError(f"{where} ends inside a sentence; it should have {ids[0]} sentences with all their tokens")
        stop = place + 1 + ids[place]
        sentences.append(list(zip(ids[place + 1 : stop], entities[place + 1 : stop], strict=True)))
        place = stop
    return sentences


@dataclass(frozen=True)
class Instance:
    """Two spans in a row, ``[CLS] A [SEP] B [SEP]``, some tokens hidden."""

    ids: tuple[int, ...]
    segments: tuple[int, ...]
    labels: tuple[int, ...]  #: what stood at a hidden token, -1 elsewhere
    entities: tuple[int, ...]  #: -1 where there is none
    random_next: bool  #: B is from another document

    @property
    def num_entities(self) -> int:
        """Tokens with an entity."""
        return sum(entity != NOTHING for entity in self.entities)


@dataclass(frozen=True)
class InstanceMaker:
    """How documents become instances; the defaults are the released pretraining's.

    Args:
        max_length: tokens of an instance at most, special ones included.
        short_rate: share of documents that are cut into shorter instances, of random length.
        hidden_rate: share of tokens that are hidden, special ones counted, at least one.
        most_hidden: but no more than these.
        fewest_entities: instances with fewer tokens that carry an entity are dropped (the paper says 3).
        copies: how often the documents are gone through, hidden anew.
        pool: random tokens are drawn from ids ``pool[0]`` to ``pool[1] - 1``.
        specials: ids of the tokens that stand for no text.
    """

    max_length: int = 256
    short_rate: float = 0.1
    hidden_rate: float = 0.15
    most_hidden: int = 40
    fewest_entities: int = 5
    copies: int = 1
    pool: tuple[int, int] = (0, 30521)
    specials: Specials = BERT_UNCASED

    def __call__(self, documents: Sequence[Document], rng: random.Random) -> Iterator[Instance]:
        """The instances of all documents, in random order of the documents.

        Raises:
            UserError: there is no room for two spans.
        """
        if self.max_length < 5:
            raise UserError(
                f"max_length is {self.max_length}, but two spans with [CLS] and [SEP] need 5 tokens at least"
            )
        # the released script shuffles tokens and entities one after the other, both from a seed of these 101
        rng = random.Random(rng.randint(0, 100))
        documents = list(documents)
        rng.shuffle(documents)
        for _ in range(self.copies):
            for number in range(len(documents)):
                for left, right, random_next in self._pairs(documents, number, rng):
                    instance = self._instance(left, right, random_next, rng)
                    if instance.num_entities >= self.fewest_entities:
                        yield instance

    def _pairs(
        self, documents: Sequence[Document], number: int, rng: random.Random
    ) -> Iterator[tuple[list[Row], list[Row], bool]]:
        """Spans A and B from the sentences of a document, and whether B is another document's."""
        document = documents[number]
        room = self.max_length - 3
        aimed = rng.randint(2, room) if rng.random() < self.short_rate else room
        place = 0
        while place < len(document):
            chunk = _chunk(document, place, aimed)
            cut = rng.randint(1, len(chunk) - 1) if len(chunk) > 1 else 1
            left = [row for sentence in chunk[:cut] for row in sentence]
            random_next = len(chunk) == 1 or rng.random() < 0.5
            if random_next:
                right = _elsewhere(documents, number, aimed - len(left), rng)
                place += cut  # what follows A is used again
            else:
                right = [row for sentence in chunk[cut:] for row in sentence]
                place += len(chunk)
            _truncate(left, right, room, rng)
            yield left, right, random_next

    def _instance(self, left: list[Row], right: list[Row], random_next: bool, rng: random.Random) -> Instance:
        start, stop = (self.specials.start, NOTHING), (self.specials.stop, NOTHING)
        rows = [start, *left, stop, *right, stop]
        ids = [token for token, _ in rows]
        hidden, labels = self._hide(ids, rng)
        return Instance(
            ids=tuple(hidden),
            segments=(0,) * (len(left) + 2) + (1,) * (len(right) + 1),
            labels=tuple(labels),
            entities=tuple(entity for _, entity in rows),
            random_next=random_next,
        )

    def _hide(self, ids: Sequence[int], rng: random.Random) -> tuple[list[int], list[int]]:
        never = (self.specials.start, self.specials.stop)
        alone = [NO_GROUP if token in never else place for place, token in enumerate(ids)]
        treatment = Treatment(self.specials.mask, range(*self.pool))
        hidden, stood = hide(ids, alone, treatment, rng, rate=self.hidden_rate, at_most=self.most_hidden)
        return hidden, [stood.get(place, UNHIDDEN) for place in range(len(ids))]


def _chunk(document: Document, first: int, aimed: int) -> Document:
    """Sentences from ``first`` on until they have as many tokens as ``aimed`` for."""
    length = 0
    for stop in range(first, len(document)):
        length += len(document[stop])
        if length >= aimed:
            return document[first : stop + 1]
    return document[first:]


def _elsewhere(documents: Sequence[Document], number: int, aimed: int, rng: random.Random) -> list[Row]:
    """Sentences from a random place of another document; of the same one where ten draws find no other."""
    other = number
    for _ in range(10):
        other = rng.randint(0, len(documents) - 1)
        if other != number:
            break
    rows: list[Row] = []
    for sentence in documents[other][rng.randint(0, len(documents[other]) - 1) :]:
        rows.extend(sentence)
        if len(rows) >= aimed:
            break
    return rows


def _truncate(left: list[Row], right: list[Row], room: int, rng: random.Random) -> None:
    """Take tokens from either end of the longer span until both fit."""
    while len(left) + len(right) > room:
        longer = left if len(left) > len(right) else right
        longer.pop(0 if rng.random() < 0.5 else -1)
