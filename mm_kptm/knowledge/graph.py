"""A knowledge graph of surface strings: triples in the order of their files, and what is known about a name."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from mm_kptm.errors import UserError, nearest
from mm_kptm.knowledge.stores import Integers, TripleStore


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
        numbers: dict[str, int] = {}
        relations: dict[str, int] = {}
        flat: list[int] = []
        for head, relation, tail in triples:
            flat += (
                numbers.setdefault(head, len(numbers)),
                relations.setdefault(relation, len(relations)),
                numbers.setdefault(tail, len(numbers)),
            )
        for name in entities:
            numbers.setdefault(name, len(numbers))
        self._numbers = numbers
        self.entities = tuple(numbers)
        self.relations = tuple(relations)
        self.store = TripleStore(np.array(flat, dtype=np.int64), len(numbers))
        self.words = words if words is not None else Words()

    @classmethod
    def open(cls, *paths: str | Path) -> KnowledgeGraph:
        """A graph from ``.spo`` or ``.tsv`` files: head, relation and tail between tabs, UTF-8, no header.

        Raises:
            UserError: a file cannot be read, or a line does not hold three parts; the message names the line.
        """
        return cls(triple for path in paths for triple in read_triples(Path(path)))

    @cached_property
    def heads(self) -> tuple[str, ...]:
        """Every name that something is known about, in the order of its first triple."""
        return tuple(dict.fromkeys(triple.head for triple in self))

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
        return () if number is None else tuple(self._at(np.arange(len(self.store))[self.store.about(number)]))

    def around(self, name: str, hops: int = 1) -> tuple[Triple, ...]:
        """The triples that begin fewer than ``hops`` steps from a name, the nearest first.

        Raises:
            UserError: the graph does not have the name, or ``hops`` is not at least 1.
        """
        return tuple(self._at(self.store.around(self.number_of(name), hops)))

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
        return self._at(np.argsort(self.store.came))

    @cached_property
    def _backwards(self) -> TripleStore:
        return self.store.reversed()

    def _at(self, places: Integers) -> Iterator[Triple]:
        store = self.store
        columns = (store.heads_of(places), store.relations[places], store.tails[places])
        for head, relation, tail in zip(*(column.tolist() for column in columns), strict=True):
            yield Triple(self.entities[head], self.relations[relation], self.entities[tail])

    def _close(self, name: str) -> str:
        alike = [other for other in self.entities if other[:1].lower() == name[:1].lower()] if name else []
        return nearest(name, alike) if alike and "did you mean" in nearest(name, alike) else ""


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
        except (EOFError, gzip.BadGzipFile):
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
