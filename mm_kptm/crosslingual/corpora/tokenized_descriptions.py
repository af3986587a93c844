"""Descriptions of entities in several languages, and the mentions and triples that point to them, tokenized.

They lie in memory or in token stores. Names are looked up by Arrow while these are made, and kept nowhere.

Shapes: N descriptions, M mentions, K triples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mm_kptm.data.formats.arrow_folders import each_cells
from mm_kptm.data.formats.mentions import span
from mm_kptm.data.packing import Packed
from mm_kptm.data.token_store import Tokenized, batched
from mm_kptm.data.tokenizers.batch import IDS, encode_ids
from mm_kptm.data.tokenizers.protocol import Tokenizer, framed
from mm_kptm.errors import UserError
from mm_kptm.io.records import read_lines

if TYPE_CHECKING:
    import pyarrow as pa

FIRST, DESCRIPTION, LANGUAGE, SUBJECT, OBJECT = "first", "description", "language", "subject", "object"
BEHIND = "mentions that begin behind max_length"
BLOCK = 1 << 14  #: names that are looked up at once

IntArray = NDArray[np.int64]


class Described(NamedTuple):
    """A description of an entity in a language."""

    entity: str
    language: str
    text: str


class Mention(NamedTuple):
    """A mention in a text, and the description that it meets."""

    text: str
    language: str
    start: int
    end: int
    description: int


class Claim(NamedTuple):
    """A relation between two described entities."""

    subject: int  #: its description
    relation: str
    object: int  #: its description


def each_description(path: Path) -> Iterator[Described]:
    """The descriptions of a file: an entity, a language and a text between tabs.

    Raises:
        UserError: a line has another form.
    """
    for cells, place in each_cells(path, ("entity", "language", "text")):
        cells = [cell.strip() for cell in cells]
        if len(cells) != 3 or not all(cells):
            raise UserError(
                f"{place} should be an entity, a language and a description, set apart by tabs; it is "
                f"{' '.join(cells)[:40]!r}"
            )
        yield Described(*cells)


class DescriptionNumbers:
    """The numbers of descriptions, in the order of their file, by entity and language.

    Raises:
        UserError: a line of the file is malformed, or an entity has two descriptions in one language.
    """

    def __init__(self, path: Path) -> None:
        names, of_entity = _numbered(one.entity for one in each_description(path))
        languages, of_language = _numbered(one.language for one in each_description(path))
        _, first = np.unique(of_entity * max(len(languages), 1) + of_language, return_index=True)
        if len(first) < len(of_entity):
            _check_once(path)
        first.sort()
        self._names, self._numbers = names, first[of_entity[first].argsort(kind="stable")]
        self._bounds = np.searchsorted(of_entity[self._numbers], np.arange(len(names) + 1))
        self._languages: list[str] = languages.to_pylist()
        self._spoken = of_language

    def entities(self, names: Sequence[str]) -> list[int]:
        """The numbers of entities; -1 where there is no description."""
        import pyarrow as pa
        import pyarrow.compute as pc

        found: list[int] = pc.index_in(pa.array(names, pa.string()), value_set=self._names).fill_null(-1).to_pylist()
        return found

    def first(self, entity: int) -> tuple[int, str]:
        """The first description of an entity, and its language."""
        number = int(self._numbers[self._bounds[entity]])
        return number, self._languages[self._spoken[number]]

    def in_another_language(self, entity: int, language: str, turn: int) -> int:
        """One of its descriptions in other languages, in turns; one in the language if there is no other."""
        own = self._numbers[self._bounds[entity] : self._bounds[entity + 1]].tolist()
        others = [number for number in own if self._languages[self._spoken[number]] != language] or own
        return int(others[turn % len(others)])


def _numbered(names: Iterator[str]) -> tuple[pa.Array[Any], IntArray]:
    """Distinct names in the order of their first occurrence, and the number of each."""
    import pyarrow as pa

    chunks = [pa.array(some, pa.string()) for some in batched(names, BLOCK)]
    encoded = pa.chunked_array(chunks, pa.string()).combine_chunks().dictionary_encode()
    return encoded.dictionary, encoded.indices.to_numpy().astype(np.int64)


def _check_once(path: Path) -> None:
    """Name the line that describes an entity a second time; the same text twice is none."""
    known: dict[tuple[str, str], str] = {}
    for number, (entity, language, text) in enumerate(each_description(path), 1):
        if known.setdefault((entity, language), text) != text:
            place = f"{path}, {'row' if path.is_dir() else 'line'} {number}"
            raise UserError(f"{place} describes {entity} in {language!r} a second time; once is enough")


@dataclass(frozen=True)
class DescriptionTokenizer:
    """Tokenizes descriptions between special tokens, many at once."""

    tokenizer: Tokenizer
    max_length: int  #: tokens of a description, special ones included

    def __call__(self, items: Sequence[Described]) -> Tokenized:
        """The descriptions: column ``ids``."""
        specials = self.tokenizer.specials
        room = self.max_length - specials.around(1)
        said = encode_ids(self.tokenizer, [one.text for one in items])
        return Tokenized(Packed.of(**{IDS: [framed(specials, ids[:room])[0] for ids in said]}))


@dataclass(frozen=True)
class MentionTexts:
    """The texts with mentions of described entities of a file, a JSON object a line.

    Args:
        path: lines of ``{"text", "mentions": [{"span", "entity"}], "language"}``.
        descriptions: their file.
    """

    path: Path
    descriptions: Path

    def mentions(self) -> Iterator[Mention]:
        """Every mention of a described entity.

        Raises:
            UserError: a key is missing or has another type, a span is outside its text, or no mention is described.
        """
        numbers, turn = DescriptionNumbers(self.descriptions), 0
        for some in batched(self._all(), BLOCK):
            for (text, language, start, end, _), entity in zip(
                some, numbers.entities([one[-1] for one in some]), strict=True
            ):
                if entity >= 0:
                    described = numbers.in_another_language(entity, language, turn)
                    yield Mention(text, language, start, end, described)
                    turn += 1
        if not turn:
            raise UserError(f"no mention in {self.path} is of an entity that data.descriptions describes")

    def texts(self) -> Iterator[tuple[str, str]]:
        """Every text with such a mention, and its language, once a line of the file."""
        for (text, language), _ in groupby(self.mentions(), key=lambda one: (one.text, one.language)):
            yield text, language

    def _all(self) -> Iterator[tuple[str, str, int, int, str]]:
        for record in read_lines(self.path):
            text, language = record.get("text", str), record.text("language", "en")
            for mention in record.records("mentions"):
                where = span(mention, "span", text)
                yield text, language, where.start, where.end, mention.name("entity")


@dataclass(frozen=True)
class MentionTokenizer:
    """Tokenize texts with a mention each; those whose mention begins behind ``max_length`` are dropped."""

    tokenizer: Tokenizer
    max_length: int

    def __call__(self, items: Sequence[Mention]) -> Tokenized:
        """Columns ``ids``, and ``first``, 1 at the first token; of texts ``description`` and ``language``, numbered."""
        specials, texts, marks, met, spoken = self.tokenizer.specials, [], [], [], []
        room = self.max_length - specials.around(1)
        for one in items:
            pieces = self.tokenizer.encode(one.text, one.language)
            ids, _ = framed(specials, pieces.ids[:room])
            first = next(iter(pieces.covering(one.start, one.end)), self.max_length) + specials.opens
            if first < len(ids) - 1:
                texts.append(ids)
                marks.append([int(place == first) for place in range(len(ids))])
                met.append(one.description)
                spoken.append(language_number(one.language))
        rows, dropped = Packed.of(**{IDS: texts, FIRST: marks}), len(items) - len(texts)
        of_texts = {DESCRIPTION: np.array(met, np.int64), LANGUAGE: np.array(spoken, np.int64)}
        return Tokenized(rows, of_texts, {BEHIND: dropped} if dropped else {})


def language_number(code: str) -> int:
    """A number of a language that follows from its code alone, so that files, runs and processes agree.

    >>> language_number("de"), language_number("zh-Hant") == language_number("zh-Hans")
    (25701, False)
    """
    return int.from_bytes(code.encode()[:7])


@dataclass(frozen=True)
class TextTokenizer:
    """Tokenizes texts between special tokens."""

    tokenizer: Tokenizer
    max_length: int

    def __call__(self, items: Sequence[tuple[str, str]]) -> Tokenized:
        """Texts and their languages: column ``ids``."""
        specials = self.tokenizer.specials
        room = self.max_length - specials.around(1)
        said = [self.tokenizer.encode(text, language).ids[:room] for text, language in items]
        return Tokenized(Packed.of(**{IDS: [framed(specials, ids)[0] for ids in said]}))


@dataclass(frozen=True)
class Claims:
    """The triples of a file between described entities: head, relation and tail between tabs."""

    path: Path
    descriptions: Path

    def __call__(self) -> Iterator[Claim]:
        """The subject's first description, the relation, and a description of the object in another language.

        Raises:
            UserError: a line is no triple, or no triple joins two described entities.
        """
        numbers, found = DescriptionNumbers(self.descriptions), False
        lines = enumerate(each_cells(self.path, ("head", "relation", "tail")))
        for some in batched(((turn, _triple(cells, place)) for turn, (cells, place) in lines), BLOCK):
            heads, tails = (numbers.entities([triple[side] for _, triple in some]) for side in (0, 2))
            for (turn, (_, relation, _)), head, tail in zip(some, heads, tails, strict=True):
                if head >= 0 and tail >= 0:
                    subject, language = numbers.first(head)
                    yield Claim(subject, relation, numbers.in_another_language(tail, language, turn))
                    found = True
        if not found:
            raise UserError(f"no triple in {self.path} joins two entities that data.descriptions describes")


def _triple(cells: Sequence[str], place: str) -> tuple[str, str, str]:
    if len(cells) != 3:
        raise UserError(f"{place} has {len(cells)} columns instead of 3; tabs part head, relation and tail")
    return cells[0].strip(), cells[1].strip(), cells[2].strip()


@dataclass(frozen=True)
class ClaimTokenizer:
    """Tokenizes the relations of triples."""

    tokenizer: Tokenizer

    def __call__(self, items: Sequence[Claim]) -> Tokenized:
        """Column ``ids`` of relations; of triples ``subject`` and ``object``, their descriptions."""
        said = encode_ids(self.tokenizer, [one.relation for one in items])
        ends = {SUBJECT: [one.subject for one in items], OBJECT: [one.object for one in items]}
        return Tokenized(Packed.of(**{IDS: said}), {name: np.array(ids, np.int64) for name, ids in ends.items()})
