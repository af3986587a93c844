"""A knowledge graph of surface strings: triples in the order of their files, and what is known about a name."""

from __future__ import annotations

import gzip
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, count, islice
from pathlib import Path
from typing import NamedTuple, TypeVar, overload

import numpy as np

from mm_kptm.errors import UserError, nearest
from mm_kptm.knowledge.stores import Around, Integers, OrderedStore, TripleStore
from mm_kptm.knowledge.triple_files import Numbered, read_at_once

_AT_ONCE = 1 << 16  # triples that are numbered in one go


class Triple(NamedTuple):
    """One fact."""

    head: str
    relation: str
    tail: str


T = TypeVar("T")
Wording = Callable[[Triple], str]  #: a fact as the text of a branch


def relation_and_tail(triple: Triple) -> str:
    """Without a blank between, as K-BERT words facts for classification."""
    return triple.relation + triple.tail


def relation_blank_tail(triple: Triple) -> str:
    """With a blank between, for languages that write blanks."""
    return f"{triple.relation} {triple.tail}"


def tail_only(triple: Triple) -> str:
    """As K-BERT words facts for named entities."""
    return triple.tail


@dataclass(frozen=True)
class Words:
    """What entities are called and how they are described, by language (a code such as ``en``) and name."""

    aliases: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    descriptions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def languages(self) -> tuple[str, ...]:
        """Of aliases or descriptions, in order of the alphabet."""
        return tuple(sorted(self.aliases.keys() | self.descriptions.keys()))


class KnowledgeGraph:
    """Names, the triples between them as integers, and their words.

    The released K-BERT keeps facts in a set, so that the two it uses of a word change from run to run; here they stay
    in the order of the file. A triple that is repeated counts once. Names are numbered as they first occur;
    ``entities`` are names that may stand in no triple.

    >>> graph = KnowledgeGraph([Triple("cat", "is", "animal"), Triple("cat", "eats", "fish")])
    >>> graph.facts(relation_blank_tail)("cat")
    ['is animal', 'eats fish']
    """

    def __init__(
        self, triples: Iterable[Sequence[str]], words: Words | None = None, *, entities: Iterable[str] = ()
    ) -> None:
        read = read_at_once(triples.paths) if isinstance(triples, _Files) else None
        numbered = _numbered(triples) if read is None else read
        self._numbers = {name: number for number, name in enumerate(numbered.names)}
        for name in entities:
            self._numbers.setdefault(name, len(self._numbers))
        self.entities = tuple(self._numbers)
        self.relations = numbered.relations
        self.store = OrderedStore(numbered.triples, len(self.entities))
        self.words = words if words is not None else Words()

    @classmethod
    def open(cls, *paths: str | Path) -> KnowledgeGraph:
        """A graph from ``.spo`` or ``.tsv`` files: head, relation and tail between tabs, UTF-8, no header.

        Raises:
            UserError: a file cannot be read, or a line does not hold three parts; the message names the line.
        """
        return cls(_Files(tuple(map(Path, paths))))

    @cached_property
    def heads(self) -> tuple[str, ...]:
        """Every name that something is known about, in the order of its first triple."""
        numbers = self.store.heads_of(np.argsort(self.store.came))
        return tuple(self.entities[number] for number in dict.fromkeys(numbers.tolist()))

    def number_of(self, name: str) -> int:
        """The number of a name.

        Raises:
            UserError: the graph does not have it.
        """
        number = self._numbers.get(name)
        if number is None:
            raise UserError(f"the graph of {len(self.entities)} entities has none called {name!r}{self._close(name)}")
        return number

    def about(self, head: str) -> tuple[Triple, ...]:
        """What is known about a name; nothing about one that the graph does not have."""
        number = self._numbers.get(head)
        if number is None:
            return ()
        found = self.store.about(number)
        pairs = zip(self.store.relations[found].tolist(), self.store.tails[found].tolist(), strict=True)
        return tuple(Triple(head, self.relations[relation], self.entities[tail]) for relation, tail in pairs)

    def around(self, name: str, hops: int = 1) -> Triples:
        """The triples that begin fewer than ``hops`` steps from a name, the nearest first.

        Raises:
            UserError: the graph does not have the name, or ``hops`` is not at least 1.
        """
        return Triples(self, self.store.around(self.number_of(name), hops))

    def around_each(self, names: Iterable[str], hops: int = 1) -> Around:
        """The neighbourhoods of several names by number, quicker than one by one.

        Raises:
            UserError: as :meth:`around`.
        """
        return self.store.around_each([self.number_of(name) for name in names], hops)

    def leading_to(self, name: str) -> tuple[Triple, ...]:
        """The triples whose tail is a name.

        Raises:
            UserError: the graph does not have it.
        """
        number, backwards = self.number_of(name), self._backwards
        found = backwards.about(number)
        pairs = zip(backwards.tails[found].tolist(), backwards.relations[found].tolist(), strict=True)
        return tuple(Triple(self.entities[head], self.relations[relation], name) for head, relation in pairs)

    def aliases(self, name: str, language: str) -> tuple[str, ...]:
        """What a name is called in a language; nothing where it has no words there.

        Raises:
            UserError: the graph has no aliases in that language.
        """
        return _in(language, self.words.aliases, "aliases").get(name, ())

    def description(self, name: str, language: str) -> str:
        """How a name is described in a language; an empty text where it is not.

        Raises:
            UserError: the graph has no descriptions in that language.
        """
        return _in(language, self.words.descriptions, "descriptions").get(name, "")

    def facts(self, wording: Wording = relation_and_tail) -> Callable[[str], list[str]]:
        """A look-up of the facts about a name in words, each wording once."""

        def look_up(head: str) -> list[str]:
            return list(dict.fromkeys(map(wording, self.about(head))))

        return look_up

    def numbered(self) -> Integers:
        """The triples by number in the order of their files, [M, 3]."""
        places = np.argsort(self.store.came)
        return np.stack([self.store.heads_of(places), self.store.relations[places], self.store.tails[places]], axis=1)

    def __len__(self) -> int:
        return len(self.store)

    def __iter__(self) -> Iterator[Triple]:
        places = np.argsort(self.store.came)
        store = self.store
        return self.in_words(store.heads_of(places), store.relations[places], store.tails[places])

    def in_words(self, heads: Integers, relations: Integers, tails: Integers) -> Iterator[Triple]:
        """Triples whose columns are given by number."""
        names, called = self.entities.__getitem__, self.relations.__getitem__
        columns = map(names, heads.tolist()), map(called, relations.tolist()), map(names, tails.tolist())
        return map(Triple._make, zip(*columns, strict=True))

    @cached_property
    def _backwards(self) -> TripleStore:
        return self.store.reversed()

    def _close(self, name: str) -> str:
        alike = [other for other in self.entities if other[:1].lower() == name[:1].lower()] if name else []
        return nearest(name, alike) if alike and "did you mean" in nearest(name, alike) else ""


class Triples(Sequence[Triple]):
    """Triples around a name, put into words when they are read: how many there are is known without."""

    def __init__(self, graph: KnowledgeGraph, around: Around) -> None:
        self._graph = graph
        self.numbers = around  #: the same by number

    @cached_property
    def _words(self) -> tuple[Triple, ...]:
        found = self.numbers
        return tuple(self._graph.in_words(found.heads, found.relations, found.tails))

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[Triple]:
        return iter(self._words)

    @overload
    def __getitem__(self, place: int) -> Triple: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Triple, ...]: ...
    def __getitem__(self, place: int | slice) -> Triple | tuple[Triple, ...]:
        return self._words[place]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Triples | tuple) and self._words == tuple(other)

    def __hash__(self) -> int:
        return hash(self._words)

    def __repr__(self) -> str:
        return repr(self._words)


@dataclass(frozen=True)
class _Files(Iterable[Triple]):
    """The triples of some files, one file after the other."""

    paths: tuple[Path, ...]

    def __iter__(self) -> Iterator[Triple]:
        return chain.from_iterable(map(read_triples, self.paths))


def _numbered(triples: Iterable[Sequence[str]]) -> Numbered:
    names: defaultdict[str, int] = defaultdict(count().__next__)  # so that one look-up finds or gives a number
    relations: defaultdict[str, int] = defaultdict(count().__next__)
    parts = [np.empty((0, 3), dtype=np.int64)]
    rows = iter(triples)
    while block := list(islice(rows, _AT_ONCE)):
        if wrong := next((row for row in block if len(row) != 3), None):
            raise UserError(f"a triple is head, relation and tail, not {wrong!r}")
        flat = list(chain.from_iterable(block))
        part = np.empty((len(block), 3), dtype=np.int64)
        part[:, 1] = np.fromiter(map(relations.__getitem__, flat[1::3]), np.int64, len(block))
        del flat[1::3]
        part[:, ::2] = np.fromiter(map(names.__getitem__, flat), np.int64, len(flat)).reshape(-1, 2)
        parts.append(part)
    return Numbered(tuple(names), tuple(relations), np.concatenate(parts))


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file with their numbers from 1, unpacked where it is a ``.gz``.

    Raises:
        UserError: a line is not UTF-8, or the packed file is broken.
    """
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
        number = 0
        try:
            for number, raw in enumerate(lines, 1):
                yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            raise UserError(f"{path}, line {number} is not UTF-8; save the file in that encoding") from None
        except (EOFError, gzip.BadGzipFile, zlib.error):
            raise UserError(f"{path} breaks off after line {number}; fetch it again") from None


def read_triples(path: Path) -> Iterator[Triple]:
    """The triples of a file, line by line; everything is text, "NA" and "007" too. Empty lines are passed over.

    Raises:
        UserError: as :meth:`KnowledgeGraph.open`.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}; give the path of a .spo or .tsv file with head, relation, tail")
    for number, line in numbered_lines(path):
        if not line.strip():
            continue
        parts = [part.strip() for part in line.split("\t")]
        if len(parts) != 3 or not all(parts):
            raise UserError(
                f"{path}, line {number} holds {sum(map(bool, parts))} parts between tabs ({line.strip()[:60]!r}); "
                f"a triple is head, relation and tail"
            )
        yield Triple(*parts)


def _in(language: str, known: Mapping[str, Mapping[str, T]], what: str) -> Mapping[str, T]:
    if language not in known:
        have = f"; it has {', '.join(sorted(known))}" if known else "; it has none at all"
        raise UserError(f"the graph has no {what} in {language!r}{have}")
    return known[language]
