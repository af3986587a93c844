"""Texts in which some entities were replaced by others of their type: weak supervision for knowledge of entities.

Xiong et al. (2020, WKLM, section 3): a text says what is true of the entities that it names, and says what is most
likely false once another one of the same type stands there.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from mm_kptm.data.formats.mentions import span
from mm_kptm.errors import UserError
from mm_kptm.io.records import once, read_lines, read_table
from mm_kptm.knowledge.injection.entity_grid import Mention


@dataclass(frozen=True)
class Mentioned:
    """A text and the entities that it names, in order."""

    text: str
    mentions: tuple[Mention, ...]


@dataclass(frozen=True)
class Replaced:
    """A text in which some mentions name another entity than they did."""

    text: str
    mentions: tuple[Mention, ...]  #: where they stand now, and what they name now
    true: tuple[bool, ...]  #: whether each names what it did


@dataclass(frozen=True)
class TypedEntity:
    """The type of an entity, and what it is called."""

    type: str
    names: tuple[str, ...]


class Replacer:
    """Replaces mentions by names of other entities of the same type.

    Mentions are looked at in random order, and each is replaced with the chance ``rate`` unless one beside it was:
    between two false statements there is always a true one. The first that can be replaced always is. A name by which
    the true entity is known too is never taken.

    Args:
        entities: by their number.
        rate: the paper's is not recalled.

    Raises:
        UserError: the rate is no share.
    """

    def __init__(self, entities: Mapping[str, TypedEntity], *, rate: float = 0.5) -> None:
        if not 0 < rate <= 1:
            raise UserError(
                f"a share of {rate} of the mentions was to be replaced; it must lie above 0 and at most be 1"
            )
        self.rate = rate
        self._entities = entities
        self._alike: dict[str, list[str]] = {}
        for entity, known in entities.items():
            self._alike.setdefault(known.type, []).append(entity)

    def __call__(self, given: Mentioned, rng: random.Random) -> Replaced:
        """One version of a text."""
        order = list(range(len(given.mentions)))
        rng.shuffle(order)
        instead: dict[int, tuple[str, str]] = {}
        for place in order:
            if {place - 1, place + 1} & instead.keys() or (instead and rng.random() >= self.rate):
                continue
            other = self._other(given.mentions[place].entity, rng)
            if other is not None:
                instead[place] = other
        return _written(given, instead)

    def versions(self, given: Mentioned, count: int, rng: random.Random) -> Iterator[Replaced]:
        """Several versions of a text, drawn one after the other; the paper has ten."""
        return (self(given, rng) for _ in range(count))

    def _other(self, entity: str, rng: random.Random) -> tuple[str, str] | None:
        """Another entity of the same type, by one of its names."""
        known = self._entities.get(entity)
        if known is None:
            return None
        alike = self._alike[known.type]
        for other in rng.sample(alike, len(alike)) if len(alike) <= _FEW else (rng.choice(alike) for _ in range(_FEW)):
            names = [name for name in self._entities[other].names if name not in known.names]
            if other != entity and names:
                return other, rng.choice(names)
        return None


_FEW = 32  # of a large type that many draws find another one, if there is any to find


def _written(given: Mentioned, instead: Mapping[int, tuple[str, str]]) -> Replaced:
    text, mentions, end = "", [], 0
    for place, mention in enumerate(given.mentions):
        text += given.text[end : mention.start]
        entity, name = instead.get(place, (mention.entity, given.text[mention.start : mention.end]))
        mentions.append(mention._replace(entity=entity, start=len(text), end=len(text) + len(name)))
        text += name
        end = mention.end
    true = tuple(place not in instead for place in range(len(mentions)))
    return Replaced(text + given.text[end:], tuple(mentions), true)


def read_typed_entities(path: str | Path) -> dict[str, TypedEntity]:
    """An entity, its type, and one or more names in every line, set apart by tabs.

    Raises:
        UserError: no such file, a line has no name or a blank cell, or an entity has two lines; the message names the
            line.
    """
    found: dict[str, TypedEntity] = {}
    seen: dict[str, str] = {}
    for cells, place in read_table(path):
        cells = [cell.strip() for cell in cells]
        if len(cells) < 3 or not all(cells):
            raise UserError(
                f"{place} should be an entity, its type and its names, set apart by tabs; it is "
                f"{' '.join(cells)[:40]!r}"
            )
        entity, type_, *names = cells
        once(entity, place, seen, "the entity")
        found[entity] = TypedEntity(type_, tuple(names))
    return found


def read_mentioned(path: str | Path) -> tuple[Mentioned, ...]:
    """Texts, one JSON object a line: ``{"text", "mentions": [{"span": [start, end], "entity"}, ...]}``.

    Raises:
        UserError: the file cannot be read, a key is missing or of another kind, a span lies outside its text or shares
            characters with another; the message names the line.
    """
    texts = []
    for record in read_lines(path):
        text, mentions = record.get("text", str), []
        for told in record.records("mentions"):
            where = span(told, "span", text)
            mentions.append(Mention(told.name("entity"), where.start, where.end))
        mentions.sort(key=lambda mention: mention.start)
        for one, other in pairwise(mentions):
            if other.start < one.end:
                raise UserError(
                    f"{record.place}: the mentions at {one.start} and {other.start} share characters; they must stand "
                    "apart"
                )
        texts.append(Mentioned(text, tuple(mentions)))
    return tuple(texts)
