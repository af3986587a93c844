"""ERNIE pretraining instances: two text spans, masked tokens and entities (Zhang et al. 2019).

Reproduces the released script value by value for the same :class:`random.Random`; its two slips in thinning runs of one
entity (:func:`alternating`) are an option.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from mm_kptm.data.masking.static import Treatment, mask_units
from mm_kptm.data.masking.units import NO_GROUP
from mm_kptm.data.tokenizers.protocol import Specials
from mm_kptm.errors import UserError
from mm_kptm.io.text_lines import is_count, numbered_lines
from mm_kptm.knowledge.graph.openke import NOTHING

UNHIDDEN = -1  #: label of a token that is not predicted
BERT_UNCASED = Specials(pad=0, unknown=100, start=101, stop=102, mask=103)

Row = tuple[int, int]  #: token id and entity id
Document = Sequence[Sequence[Row]]  #: sentences
Thinning = Callable[[Sequence[int], Sequence[bool]], list[int]]


def first_of_run(values: Sequence[int], named: Sequence[bool]) -> list[int]:
    """Keep an entity only at the first token of a run of the same entity.

    Args:
        values: a line of the file: counts and entity ids.
        named: which values are entities.

    >>> first_of_run([4, 7, 7, 7], [False, True, True, True])
    [4, 7, -1, -1]
    """
    repeats = [False, *(a == b and known for (a, b), known in zip(pairwise(values), named, strict=False))]
    return [NOTHING if same and known else value for value, known, same in zip(values, named, repeats, strict=True)]


def alternating(values: Sequence[int], named: Sequence[bool]) -> list[int]:
    """Thinning of the released code, which compares with the value just written, even with a count.

    So every second token of a mention keeps its entity, and a sentence whose length equals the id of its first entity
    loses that entity.

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
    """Read documents from two parallel files, one document per line; empty documents are left out.

    A line is integers separated by tabs: the number of sentences, then for every sentence its number of tokens and
    their ids. The second file has an entity name, or ``#UNK#``, in place of every token id.

    Raises:
        UserError: a file is missing, the two are not parallel, or a line is malformed.
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
        if not known and not is_count(part):
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
    """Sentence pair ``[CLS] A [SEP] B [SEP]`` with masked tokens and entities."""

    ids: tuple[int, ...]
    segments: tuple[int, ...]
    labels: tuple[int, ...]  #: original token id where masked, -1 elsewhere
    entities: tuple[int, ...]  #: entity ids, -1 where there is none
    random_next: bool  #: whether B is from another document

    @property
    def num_entities(self) -> int:
        """Number of tokens with an entity."""
        return sum(entity != NOTHING for entity in self.entities)


@dataclass(frozen=True)
class InstanceMaker:
    """Builds instances from documents; the defaults are those of the released pretraining.

    Args:
        max_length: maximum number of tokens of an instance, special ones included.
        short_rate: share of documents that are split into shorter instances, of random length.
        hidden_rate: share of tokens that are masked, special ones counted, at least one.
        most_hidden: maximum number of masked tokens.
        fewest_entities: instances with fewer tokens with an entity are dropped (the paper says 3).
        copies: passes over the documents, each masked anew.
        pool: random replacement tokens have ids ``pool[0]`` to ``pool[1] - 1``.
        specials: ids of the special tokens.
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
        """Instances of all documents, in random document order.

        Raises:
            UserError: there is no room for two spans.
        """
        if self.max_length < 5:
            raise UserError(
                f"max_length is {self.max_length}, but two spans with [CLS] and [SEP] need 5 tokens at least"
            )
        # the released script shuffles tokens and entities separately, both from one of these 101 seeds
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
        """Spans A and B from the sentences of a document, and whether B is from another document."""
        document = documents[number]
        max_tokens = self.max_length - self.specials.opens - 2  # of which one stop token stands between
        target_length = rng.randint(2, max_tokens) if rng.random() < self.short_rate else max_tokens
        place = 0
        while place < len(document):
            chunk = _chunk(document, place, target_length)
            cut = rng.randint(1, len(chunk) - 1) if len(chunk) > 1 else 1
            left = [row for sentence in chunk[:cut] for row in sentence]
            random_next = len(chunk) == 1 or rng.random() < 0.5
            if random_next:
                right = _random_next(documents, number, target_length - len(left), rng)
                place += cut  # the sentences after A are used again
            else:
                right = [row for sentence in chunk[cut:] for row in sentence]
                place += len(chunk)
            _truncate(left, right, max_tokens, rng)
            yield left, right, random_next

    def _instance(self, left: list[Row], right: list[Row], random_next: bool, rng: random.Random) -> Instance:
        start, stop = (self.specials.start, NOTHING), (self.specials.stop, NOTHING)
        rows = [*[start] * self.specials.opens, *left, stop, *right, stop]
        ids = [token for token, _ in rows]
        masked, labels = self._hide(ids, rng)
        return Instance(
            ids=tuple(masked),
            segments=(0,) * (self.specials.opens + len(left) + 1) + (1,) * (len(right) + 1),
            labels=tuple(labels),
            entities=tuple(entity for _, entity in rows),
            random_next=random_next,
        )

    def _hide(self, ids: Sequence[int], rng: random.Random) -> tuple[list[int], list[int]]:
        never = (self.specials.start, self.specials.stop)
        units = [NO_GROUP if token in never else place for place, token in enumerate(ids)]
        treatment = Treatment(self.specials.mask_id, range(*self.pool))
        masked, originals = mask_units(ids, units, treatment, rng, rate=self.hidden_rate, at_most=self.most_hidden)
        return masked, [originals.get(place, UNHIDDEN) for place in range(len(ids))]


def _chunk(document: Document, first: int, target_length: int) -> Document:
    """Sentences from ``first`` on until they have ``target_length`` tokens."""
    length = 0
    for stop in range(first, len(document)):
        length += len(document[stop])
        if length >= target_length:
            return document[first : stop + 1]
    return document[first:]


def _random_next(documents: Sequence[Document], number: int, target_length: int, rng: random.Random) -> list[Row]:
    """Sentences from a random position of another document; of the same one if ten draws find no other."""
    other = number
    for _ in range(10):
        other = rng.randint(0, len(documents) - 1)
        if other != number:
            break
    rows: list[Row] = []
    for sentence in documents[other][rng.randint(0, len(documents[other]) - 1) :]:
        rows.extend(sentence)
        if len(rows) >= target_length:
            break
    return rows


def _truncate(left: list[Row], right: list[Row], max_tokens: int, rng: random.Random) -> None:
    """Remove tokens from either end of the longer span until both fit."""
    while len(left) + len(right) > max_tokens:
        longer = left if len(left) > len(right) else right
        longer.pop(0 if rng.random() < 0.5 else -1)
