"""Knowledge graph of surface strings: triples in file order, with aliases and descriptions of entities."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar, overload

import numpy as np

from mm_kptm.errors import UserError, nearest
from mm_kptm.knowledge.graph.bulk_reader import read_at_once
from mm_kptm.knowledge.graph.triple_store import Around, Integers, OrderedStore, TripleStore
from mm_kptm.knowledge.graph.triples import Triple, TripleFiles, Wording, number_triples, relation_and_tail

T = TypeVar("T")


@dataclass(frozen=True)
class NameIndex:
    """Aliases and descriptions of entities, by language (a code such as ``en``, in lower case) and name."""

    aliases: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    descriptions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages with aliases or descriptions, sorted."""
        return tuple(sorted(self.aliases.keys() | self.descriptions.keys()))


class KnowledgeGraph:
    """Knowledge graph: entities, triples by id, aliases and descriptions.

    The released K-BERT keeps facts in a set, so that the two it uses of a word change from run to run; here they stay
    in the order of the file. A triple that is repeated counts once. Names are numbered as they first occur;
    ``entities`` are names that may stand in no triple.

    >>> graph = KnowledgeGraph([Triple("cat", "is", "animal"), Triple("cat", "eats", "fish")])
    >>> graph.facts(lambda triple: f"{triple.relation} {triple.tail}")("cat")
    ['is animal', 'eats fish']
    """

    def __init__(
        self, triples: Iterable[Sequence[str]], words: NameIndex | None = None, *, entities: Iterable[str] = ()
    ) -> None:
        read = read_at_once(triples.paths) if isinstance(triples, TripleFiles) else None
        numbered = number_triples(triples) if read is None else read
        further = dict.fromkeys(entities)
        if further:
            further = dict.fromkeys((*numbered.names, *further))
        self.entities = tuple(further) or numbered.names
        self.relations = numbered.relations
        self.store = OrderedStore(numbered.triples, len(self.entities))
        self.words = words if words is not None else NameIndex()

    @classmethod
    def open(cls, *paths: str | Path) -> KnowledgeGraph:
        """Open ``.spo`` or ``.tsv`` files: head, relation and tail between tabs, UTF-8, no header.

        Raises:
            UserError: a file cannot be read, or a line does not hold three parts; the message names the line.
        """
        return cls(TripleFiles(tuple(map(Path, paths))))

    @cached_property
    def _numbers(self) -> dict[str, int]:
        """Numbers by name; made when a name is first looked up, because counting needs none."""
        return {name: number for number, name in enumerate(self.entities)}

    @cached_property
    def heads(self) -> tuple[str, ...]:
        """Entities that are the head of a triple, in order of their first triple."""
        numbers = self.store.heads_of(np.argsort(self.store.came))
        return tuple(self.entities[number] for number in dict.fromkeys(numbers.tolist()))

    def number_of(self, name: str) -> int:
        """Id of an entity.

        Raises:
            UserError: the graph does not have it.
        """
        number = self._numbers.get(name)
        if number is None:
            raise UserError(f"the graph of {len(self.entities)} entities has none called {name!r}{self._close(name)}")
        return number

    def about(self, head: str) -> tuple[Triple, ...]:
        """Triples with this head; empty for an unknown name."""
        number = self._numbers.get(head)
        if number is None:
            return ()
        found = self.store.about(number)
        pairs = zip(self.store.relations[found].tolist(), self.store.tails[found].tolist(), strict=True)
        return tuple(Triple(head, self.relations[relation], self.entities[tail]) for relation, tail in pairs)

    def around(self, name: str, hops: int = 1) -> Triples:
        """Triples in the ``hops``-hop neighbourhood of an entity, nearest first.

        Raises:
            UserError: the graph does not have the name, or ``hops`` is not at least 1.
        """
        return Triples(self, self.store.around(self.number_of(name), hops))

    def around_each(self, names: Iterable[str], hops: int = 1) -> Around:
        """Neighbourhoods of several entities by id, faster than one by one.

        Raises:
            UserError: as :meth:`around`.
        """
        return self.store.around_each([self.number_of(name) for name in names], hops)

    def leading_to(self, name: str) -> tuple[Triple, ...]:
        """Triples with this tail.

        Raises:
            UserError: the graph does not have it.
        """
        number, backwards = self.number_of(name), self._backwards
        found = backwards.about(number)
        pairs = zip(backwards.tails[found].tolist(), backwards.relations[found].tolist(), strict=True)
        return tuple(Triple(self.entities[head], self.relations[relation], name) for head, relation in pairs)

    def aliases(self, name: str, language: str) -> tuple[str, ...]:
        """Aliases of an entity in a language; empty if it has none.

        Raises:
            UserError: the graph has no aliases in that language.
        """
        return _in(language, self.words.aliases, "aliases").get(name, ())

    def description(self, name: str, language: str) -> str:
        """Description of an entity in a language; empty if it has none.

        Raises:
            UserError: the graph has no descriptions in that language.
        """
        return _in(language, self.words.descriptions, "descriptions").get(name, "")

    def facts(self, wording: Wording = relation_and_tail) -> Callable[[str], list[str]]:
        """Function from an entity to its verbalised facts, without duplicates."""

        def look_up(head: str) -> list[str]:
            return list(dict.fromkeys(map(wording, self.about(head))))

        return look_up

    def numbered(self) -> Integers:
        """Triples by id in file order, [M, 3]."""
        places = np.argsort(self.store.came)
        return np.stack([self.store.heads_of(places), self.store.relations[places], self.store.tails[places]], axis=1)

    def __len__(self) -> int:
        return len(self.store)

    def __iter__(self) -> Iterator[Triple]:
        places = np.argsort(self.store.came)
        store = self.store
        return self.in_words(store.heads_of(places), store.relations[places], store.tails[places])

    def in_words(self, heads: Integers, relations: Integers, tails: Integers) -> Iterator[Triple]:
        """Triples of surface strings from columns of ids."""
        names, called = self.entities.__getitem__, self.relations.__getitem__
        columns = map(names, heads.tolist()), map(called, relations.tolist()), map(names, tails.tolist())
        return map(Triple._make, zip(*columns, strict=True))

    @cached_property
    def _backwards(self) -> TripleStore:
        return self.store.reversed()

    def _close(self, name: str) -> str:
        alike = [other for other in self.entities if other[:1].lower() == name[:1].lower()] if name else []
        return nearest(name, alike, otherwise="")


class Triples(Sequence[Triple]):
    """Neighbourhood of an entity as a sequence of triples, converted to strings on first access."""

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


def _in(language: str, known: Mapping[str, Mapping[str, T]], what: str) -> Mapping[str, T]:
    language = language.lower()
    if language not in known:
        have = f"; it has {', '.join(sorted(known))}" if known else "; it has none at all"
        raise UserError(f"the graph has no {what} in {language!r}{have}")
    return known[language]
