"""Fact graph of the numbers: three families of facts, and worlds in which the last family is redrawn.

**Computable* facts follow from the number, *lookup* facts come from a table, *arbitrary* facts are random and hold in
one world. With one fixed graph a model can memorise the arbitrary facts and ignore the injected ones; with a new draw
in every world it must read them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt

from mm_kptm.errors import UserError
from mm_kptm.random_streams import RandomStream
from mm_kptm.suites.number_world.generator.numerals import roman

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "computable": ("parity", "successor", "multiple"),
    "lookup": ("prime", "square", "roman"),
    "arbitrary": ("owner", "guild", "home"),
}
RELATIONS = tuple(relation for relations in FAMILIES.values() for relation in relations)
FAMILY = {relation: family for family, relations in FAMILIES.items() for relation in relations}

PEOPLE = ("anna", "boris", "clara", "david", "emma", "felix", "grace", "hugo", "irene", "jonas", "laura", "martin",
          "nora", "oscar", "paula", "simon")  # fmt: skip
GUILDS = ("bakers", "smiths", "weavers", "sailors", "gardeners", "painters", "masons", "fishers")
TOWNS = ("london", "rome", "athens", "lisbon", "vienna", "prague", "warsaw", "geneva", "naples", "berlin", "tokyo",
         "moscow")  # fmt: skip
#: Objects of the arbitrary relations.
RANGES: Mapping[str, tuple[str, ...]] = {
    "owner": tuple(f"person:{name}" for name in PEOPLE),
    "guild": tuple(f"guild:{name}" for name in GUILDS),
    "home": tuple(f"town:{name}" for name in TOWNS),
}
#: First world and the one after the last.
WORLDS = {"train": (0, 64), "dev": (64, 72), "test": (72, 80)}


@dataclass(frozen=True)
class World:
    """World: a draw of the arbitrary facts, with the facts that hold in every world."""

    id: int
    numbers: int
    objects: Mapping[str, tuple[str | None, ...]]  #: object of each number, by relation

    def object(self, number: int, relation: str) -> str | None:
        """Object of a fact as a language-neutral label; None if there is none (zero has no Roman numeral)."""
        return self.objects[relation][number]

    def triples(self) -> tuple[tuple[str, str, str], ...]:
        """Triples (head, relation, tail) of the world in a fixed order."""
        return tuple(
            (f"number:{number}", relation, tail)
            for relation in RELATIONS
            for number, tail in enumerate(self.objects[relation])
            if tail is not None
        )


@dataclass(frozen=True)
class Worlds:
    """Worlds of all sides of a benchmark."""

    all: tuple[World, ...]

    def of(self, side: str) -> tuple[World, ...]:
        """Worlds of ``train``, ``dev`` or ``test``; with a fixed graph, the same single one."""
        if len(self.all) == 1:
            return self.all
        first, stop = WORLDS[side]
        return self.all[first:stop]

    def __getitem__(self, id: int) -> World:
        return self.all[id]

    @property
    def fixed(self) -> bool:
        return len(self.all) == 1


def draw_worlds(draw: RandomStream, *, numbers: int = 100) -> Worlds:
    """Draw the 64 + 8 + 8 worlds over the numbers 0 to ``numbers`` (excluded)."""
    lasting = _lasting(numbers)
    return Worlds(tuple(_world(id, draw.child("world", id), numbers, lasting) for id in range(WORLDS["test"][1])))


def draw_fixed(draw: RandomStream, *, numbers: int = 100) -> Worlds:
    """Draw one world for training and test, which a model can memorise."""
    return Worlds((_world(0, draw.child("world", 0), numbers, _lasting(numbers)),))


def substitute(worlds: Worlds, id: int, number: int, relation: str, draw: RandomStream) -> World:
    """Counterfactual world, of the same side as ``id``, in which a fact of ``number`` has another object.

    With a fixed graph there is no other world; a fresh one is drawn.
    """
    if relation not in RANGES:
        raise UserError(
            f"swapped facts were asked for the relation {relation!r}, but it is the same in every world; "
            f"relations that differ: {', '.join(RANGES)}"
        )
    old = worlds[id].object(number, relation)
    if worlds.fixed:
        numbers, lasting = worlds[id].numbers, _lasting(worlds[id].numbers)
        others = [_world(k + 1, draw.child("substitute", k), numbers, lasting) for k in range(8)]
    else:
        side = next(worlds.of(side) for side, (first, stop) in WORLDS.items() if first <= id < stop)
        others = list(side)
    others = [other for other in others if other.object(number, relation) != old]
    return others[draw.one(len(others))]


def _world(id: int, draw: RandomStream, numbers: int, lasting: Mapping[str, tuple[str | None, ...]]) -> World:
    drawn: dict[str, tuple[str | None, ...]] = {}
    for relation, objects in RANGES.items():
        order = draw.orders(1, numbers)[
            0
        ].tolist()  # a permutation instead of independent draws: objects are equally frequent
        drawn[relation] = tuple(objects[index % len(objects)] for index in order)
    return World(id, numbers, {**lasting, **drawn})


def _lasting(numbers: int) -> dict[str, tuple[str | None, ...]]:
    """Computable and lookup facts, which hold in every world."""
    everyone = range(numbers)
    return {
        "parity": tuple("parity:odd" if n % 2 else "parity:even" for n in everyone),
        "successor": tuple(f"number:{n + 1}" if n + 1 < numbers else None for n in everyone),
        "multiple": tuple(_yes(n % 3 == 0) for n in everyone),
        "prime": tuple(_yes(n > 1 and all(n % d for d in range(2, isqrt(n) + 1))) for n in everyone),
        "square": tuple(_yes(isqrt(n) ** 2 == n) for n in everyone),
        "roman": tuple(f"roman:{roman(n)}" if n else None for n in everyone),
    }


def _yes(truth: bool) -> str:
    return "yes" if truth else "no"
