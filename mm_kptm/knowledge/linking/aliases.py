"""Alias dictionary: names of entities in several languages, with counts of the entities they were linked to.

The share of times is the prior of an entity given its name (Ganea and Hofmann 2017, section 3). Names that are spelt
alike but for case and form share what they lead to; a spelling that the dictionary has as it stands in a text keeps
what it led to itself, so that "US" is no "us".
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mm_kptm.errors import UserError
from mm_kptm.io.text_lines import content_suffix, is_count, numbered_lines
from mm_kptm.knowledge.graph.formats import PYKEEN, open_graph
from mm_kptm.knowledge.graph.graph import KnowledgeGraph
from mm_kptm.knowledge.graph.rdf import FORMATS
from mm_kptm.knowledge.linking.candidates import read_names
from mm_kptm.knowledge.linking.mention_index import MentionIndex

COLUMNS = ("surface", "entity", "count", "language")  #: of an alias file
EVERY = ""  #: the language of names that have none: they are found in texts of every language
_UNDETERMINED = ("", "und")  # EVERY, and what RDF without a language tag counts as


class Alias(NamedTuple):
    """Alias of an entity, with its count and language."""

    surface: str
    entity: str
    times: float = 1.0  #: that it did
    language: str = EVERY


class Prior(NamedTuple):
    """Entity with its prior given a name."""

    entity: str
    share: float


Counts = Mapping[str, float]  #: by entity


class Names:
    """Names of one language, or of all, with a mention index."""

    def __init__(self, counts: Mapping[str, Counts], *, cased: bool = False) -> None:
        self.index = MentionIndex(list(counts), cased=cased)
        numbers = self.index.numbers.tolist()
        self._exact = {surface: number for surface, number in zip(counts, numbers, strict=True) if number >= 0}
        self._counts = counts
        self._spellings: dict[int, list[str]] = {}
        for surface, number in self._exact.items():
            self._spellings.setdefault(number, []).append(surface)
        self._known: dict[tuple[int, str], tuple[Prior, ...]] = {}

    def __len__(self) -> int:
        return len(self._exact)

    def priors(self, number: int, surface: str) -> tuple[Prior, ...]:
        """Priors of a mention, most likely first, ties by entity name.

        Args:
            number: of its name.
            surface: as it stands in the text.
        """
        spellings = self._spellings[number]
        key = (number, surface if len(spellings) > 1 and surface in self._exact else "")
        if key not in self._known:
            self._known[key] = _shares([self._counts[name] for name in ([key[1]] if key[1] else spellings)])
        return self._known[key]


class Aliases:
    """Alias dictionary.

    Args:
        aliases: a name that leads to the same entity twice counts twice.
        descriptions: of entities, by language.
        cased: whether a name is found in its own case alone.

    Raises:
        UserError: there is none, or a count is not positive.
    """

    def __init__(
        self,
        aliases: Iterable[Alias],
        descriptions: Mapping[str, Mapping[str, str]] | None = None,
        *,
        cased: bool = False,
    ) -> None:
        self._cased = cased
        self.descriptions = {} if descriptions is None else descriptions
        self._counts: dict[str, dict[str, dict[str, float]]] = {}
        for surface, entity, times, language in aliases:
            if not 0 < times < float("inf"):
                raise UserError(f"the name {surface!r} led to {entity} {times:g} times; a count is a positive number")
            led = self._counts.setdefault(language.lower(), {}).setdefault(surface, {})
            led[entity] = led.get(entity, 0.0) + times
        if not self._counts:
            raise UserError("there is no name to look for; a dictionary of names has one at least")
        self._names: dict[str | None, Names] = {}

    @classmethod
    def of_graph(cls, graph: KnowledgeGraph, *, among: Collection[str] | None = None, cased: bool = False) -> Aliases:
        """Alias dictionary of a graph; the entity names themselves where it has no aliases.

        Nobody counted where they led: an entity counts once, and once for every triple that it is in.

        Args:
            graph: the graph.
            among: entities that a name may lead to; any when None.
            cased: whether a name is found in its own case alone.
        """
        store = graph.store
        heads = np.bincount(store.heads_of(np.arange(len(store))), minlength=len(graph.entities))
        degrees = heads + np.bincount(store.tails, minlength=len(graph.entities))
        counts = dict(zip(graph.entities, (degrees + 1.0).tolist(), strict=True))
        words = graph.words.aliases
        if words:
            found = (
                Alias(surface, entity, counts.get(entity, 1.0), language)
                for language, called in words.items()
                for entity, surfaces in called.items()
                for surface in dict.fromkeys(surfaces)
            )
        else:
            found = (Alias(name, name, count) for name, count in counts.items())
        known = (alias for alias in found if among is None or alias.entity in among)
        return cls(known, graph.words.descriptions, cased=cased)

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages of the names, sorted."""
        return tuple(sorted(self._counts.keys() - {EVERY}))

    @cached_property
    def entities(self) -> frozenset[str]:
        """Entities of all names."""
        return frozenset(
            entity for surfaces in self._counts.values() for counts in surfaces.values() for entity in counts
        )

    def names(self, language: str | None = None) -> Names:
        """Names of a language and those without one; of all languages if None.

        Tags are compared without regard to case, and ``en`` and ``en-gb`` have each other's names (RFC 4647, sections
        3.3.1 and 3.4).
        """
        language = None if language is None else language.lower()
        if language not in self._names:
            languages = [one for one in sorted(self._counts) if language is None or _fits(one, language)]
            merged: dict[str, dict[str, float]] = {}
            for one in languages:
                for surface, counts in self._counts[one].items():
                    led = merged.setdefault(surface, {})
                    for entity, count in counts.items():
                        led[entity] = led.get(entity, 0.0) + count
            self._names[language] = Names(merged, cased=self._cased)
        return self._names[language]

    def speaks(self, language: str) -> bool:
        """Whether some names are in a language."""
        return any(one not in _UNDETERMINED and _fits(one, language.lower()) for one in self._counts)

    def require(self, language: str, source: str) -> None:
        """Raise ``UserError`` if no name is in the language."""
        if not self.speaks(language):
            have = f"it has {', '.join(self.languages)}" if self.languages else "its names are in no language at all"
            raise UserError(f"{source} has no names in {language!r}; {have}")

    def description(self, entity: str, language: str | None = None) -> str:
        """Description of an entity: in a language if there is one, else in any; empty if there is none."""
        order = sorted(self.descriptions, key=lambda one: (one != language, one))
        return next((text for one in order if (text := self.descriptions[one].get(entity))), "")


def _fits(tag: str, language: str) -> bool:
    """Whether names with a language tag are looked for in texts of a language, both in small letters."""
    return tag in _UNDETERMINED or tag == language or tag.startswith(f"{language}-") or language.startswith(f"{tag}-")


def open_aliases(source: str | Path) -> Aliases:
    """Open the alias dictionary of a file or a graph.

    A table between tabs whose first line names its columns (:data:`COLUMNS`, the first two at least); two columns
    without such a line, name and entity (ERNIE's ``anchor2id.txt``); KnowBERT's dictionary (``string TAB count TAB
    number,prior,title ...``); or anything that :func:`~mm_kptm.knowledge.graph.formats.open_graph` opens.

    Raises:
        UserError: there is no such thing, or a line cannot be read; the message names the line.
    """
    path = Path(source)
    if str(source).startswith(PYKEEN) or not path.is_file() or content_suffix(path) in (*FORMATS, ".csv"):
        return Aliases.of_graph(open_graph(source))
    first = next((line for _, line in numbered_lines(path) if line.strip()), None)
    if first is None:
        raise UserError(f"{path} is empty; a dictionary of names has a name and an entity a line")
    columns = first.split("\t")
    if columns[0] == "surface" or len(columns) == 2:
        return Aliases(_table(path, header=columns[0] == "surface"))
    if len(columns) > 2 and is_count(columns[1]) and columns[2].count(",") >= 2:
        return Aliases(
            Alias(string, sense.entity, sense.prior * name.times)
            for string, name in read_names(path).items()
            for sense in name.senses
            if sense.prior * name.times > 0
        )
    return Aliases.of_graph(open_graph(path))


def _table(path: Path, *, header: bool) -> Iterator[Alias]:
    columns = list(COLUMNS[:2])
    for place, line in numbered_lines(path):
        cells = [cell.strip() for cell in line.split("\t")]
        if header:
            columns, header = _columns(cells, f"{path}, line {place}"), False
        elif line.strip():
            yield _alias(dict(zip(columns, cells, strict=False)), len(cells), columns, f"{path}, line {place}")


def _columns(cells: list[str], place: str) -> list[str]:
    if not set(COLUMNS[:2]) <= set(cells) <= set(COLUMNS) or len(set(cells)) < len(cells):
        raise UserError(f"{place} names the columns {', '.join(cells)}; a table of names has {', '.join(COLUMNS)}")
    return cells


def _alias(row: Mapping[str, str], cells: int, columns: list[str], place: str) -> Alias:
    if cells != len(columns):
        raise UserError(f"{place} has {cells} cells between tabs, but there are {len(columns)}: {', '.join(columns)}")
    if not row["surface"] or not row["entity"]:
        raise UserError(f"{place} has no {'surface' if row['entity'] else 'entity'}; a name leads to an entity")
    try:
        count = float(row.get("count", 1))
    except ValueError:
        raise UserError(f"{place}: the count of a name is a number, not {row['count']!r}") from None
    if not 0 < count < float("inf"):
        raise UserError(f"{place}: the count of a name is a positive number, not {row['count']!r}")
    return Alias(row["surface"], row["entity"], count, row.get("language", EVERY))


def _shares(counts: Iterable[Counts]) -> tuple[Prior, ...]:
    led: dict[str, float] = {}
    for one in counts:
        for entity, count in one.items():
            led[entity] = led.get(entity, 0.0) + count
    total = sum(led.values())
    return tuple(Prior(entity, led[entity] / total) for entity in sorted(led, key=lambda name: (-led[name], name)))
