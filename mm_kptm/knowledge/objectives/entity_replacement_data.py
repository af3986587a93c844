"""Replace entities in texts by others of the same type, as weak supervision (Xiong et al. 2020, WKLM, section 3).

A text states true facts about the entities it mentions, and most likely false ones once a mention is replaced by
another entity of the same type.
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
    """Text with its entity mentions, in order."""

    text: str
    mentions: tuple[Mention, ...]


@dataclass(frozen=True)
class Replaced:
    """Text with some mentions replaced by other entities."""

    text: str
    mentions: tuple[Mention, ...]  #: current spans and entities
    true: tuple[bool, ...]  #: whether each mention is the original one


@dataclass(frozen=True)
class TypedEntity:
    """Type and names of an entity."""

    type: str
    names: tuple[str, ...]


class Replacer:
    """Replaces mentions by names of other entities of the same type.

    Mentions are visited in random order, and each is replaced with probability ``rate`` unless a neighbour was: two
    replaced mentions always have a true one between them. The first mention that can be replaced always is. A name of
    the true entity is never used as a replacement.

    Args:
        entities: types and names by entity.
        rate: replacement probability; the paper does not state it.

    Raises:
        UserError: the rate is not above 0 and at most 1.
    """

    def __init__(self, entities: Mapping[str, TypedEntity], *, rate: float = 0.5) -> None:
        if not 0 < rate <= 1:
            raise UserError(
                f"a share of {rate} of the mentions was to be replaced; it must lie above 0 and at most be 1"
            )
        self.rate = rate
        self._entities = entities
        self._by_type: dict[str, list[str]] = {}
        for entity, known in entities.items():
            self._by_type.setdefault(known.type, []).append(entity)

    def __call__(self, given: Mentioned, rng: random.Random) -> Replaced:
        """One version of a text."""
        order = list(range(len(given.mentions)))
        rng.shuffle(order)
        replacements: dict[int, tuple[str, str]] = {}
        for place in order:
            if {place - 1, place + 1} & replacements.keys() or (replacements and rng.random() >= self.rate):
                continue
            other = self._other(given.mentions[place].entity, rng)
            if other is not None:
                replacements[place] = other
        return _written(given, replacements)

    def versions(self, given: Mentioned, count: int, rng: random.Random) -> Iterator[Replaced]:
        """Several versions of a text, drawn in turn; the paper has ten."""
        return (self(given, rng) for _ in range(count))

    def _other(self, entity: str, rng: random.Random) -> tuple[str, str] | None:
        """Another entity of the same type, with one of its names."""
        known = self._entities.get(entity)
        if known is None:
            return None
        same_type = self._by_type[known.type]
        candidates = (
            rng.sample(same_type, len(same_type))
            if len(same_type) <= _FEW
            else (rng.choice(same_type) for _ in range(_FEW))
        )
        for other in candidates:
            names = [name for name in self._entities[other].names if name not in known.names]
            if other != entity and names:
                return other, rng.choice(names)
        return None


_FEW = 32  # draws from a large type, enough to find another entity if there is one


def _written(given: Mentioned, replacements: Mapping[int, tuple[str, str]]) -> Replaced:
    text, mentions, end = "", [], 0
    for place, mention in enumerate(given.mentions):
        text += given.text[end : mention.start]
        entity, name = replacements.get(place, (mention.entity, given.text[mention.start : mention.end]))
        mentions.append(mention._replace(entity=entity, start=len(text), end=len(text) + len(name)))
        text += name
        end = mention.end
    true = tuple(place not in replacements for place in range(len(mentions)))
    return Replaced(text + given.text[end:], tuple(mentions), true)


def read_typed_entities(path: str | Path) -> dict[str, TypedEntity]:
    """Read typed entities: an entity, its type, and one or more names per line, tab-separated.

    Raises:
        UserError: there is no such file, a line has no name or an empty cell, or an entity has two lines; the
            message names the line.
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
    """Read texts, one JSON object per line: ``{"text", "mentions": [{"span": [start, end], "entity"}, ...]}``.

    Raises:
        UserError: the file cannot be read, a key is missing or has another type, a span is outside its text or
            overlaps another; the message names the line.
    """
    texts = []
    for record in read_lines(path):
        text, mentions = record.get("text", str), []
        for mention in record.records("mentions"):
            where = span(mention, "span", text)
            mentions.append(Mention(mention.name("entity"), where.start, where.end))
        mentions.sort(key=lambda one: one.start)
        for one, other in pairwise(mentions):
            if other.start < one.end:
                raise UserError(
                    f"{record.place}: the mentions at {one.start} and {other.start} share characters; they must stand "
                    "apart"
                )
        texts.append(Mentioned(text, tuple(mentions)))
    return tuple(texts)
