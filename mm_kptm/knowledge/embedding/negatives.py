"""Filtered negative sampling: corrupted triples that are not among the known ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mm_kptm.errors import UserError
from mm_kptm.knowledge.graph.indexed_triple import IndexedTriple, as_rows

Draw = Callable[[int], Iterable[int]]  #: draws that many entity ids, each uniform over all entities


@dataclass(frozen=True)
class Contrasted:
    """A triple with its negatives: corrupted heads and corrupted tails."""

    triple: IndexedTriple
    false_heads: tuple[int, ...]
    false_tails: tuple[int, ...]

    def size(self, lengths: Sequence[int], *, max_length: int = 512) -> int:
        """Tokens of all descriptions of the triple and its negatives, each truncated to ``max_length``."""
        read = (self.triple.head, self.triple.tail, *self.false_heads, *self.false_tails)
        return sum(min(lengths[entity], max_length) for entity in read)


class _Completions:
    """The entities that complete a relation and an entity, looked up in sorted arrays."""

    def __init__(
        self, relations: NDArray[np.integer], entities: NDArray[np.integer], completions: NDArray[np.integer]
    ) -> None:
        order = np.lexsort((entities, relations))
        self._entities, self._completions = entities[order], completions[order]
        self._bounds = np.searchsorted(relations[order], np.arange(int(relations.max(initial=-1)) + 2))

    def of(self, relation: int, entity: int) -> set[int]:
        """All of them."""
        if not 0 <= relation < len(self._bounds) - 1:
            return set()
        first, end = self._bounds[relation : relation + 2]
        places = first + np.searchsorted(self._entities[first:end], [entity, entity + 1])
        return set(self._completions[slice(*places)].tolist())


class FilteredNegatives:
    """Uniform negative sampling of heads and tails, filtered by the known triples.

    KEPLER's sampling (Wang et al. 2021, section 3.2, and the released script): draw twice as many entities as needed,
    remove the true ones, and repeat until there are enough. The same entity may be drawn twice.

    Args:
        triples: all known triples, those of validation too; or their numbers, [M, 3].
        num_entities: entity ids are 0 to num_entities - 1.
    """

    def __init__(self, triples: Iterable[IndexedTriple] | NDArray[np.integer], num_entities: int) -> None:
        self.num_entities = num_entities
        rows = as_rows(triples)
        self._heads = _Completions(rows[:, 1], rows[:, 2], rows[:, 0])
        self._tails = _Completions(rows[:, 1], rows[:, 0], rows[:, 2])

    def __call__(self, triple: IndexedTriple, count: int, draw: Draw) -> Contrasted:
        """A triple with ``count`` negative heads and ``count`` negative tails.

        Raises:
            UserError: every entity is a true head or tail of the triple.
        """
        heads = self._false(self._heads.of(triple.relation, triple.tail), triple, "head", count, draw)
        tails = self._false(self._tails.of(triple.relation, triple.head), triple, "tail", count, draw)
        return Contrasted(triple, heads, tails)

    def _false(self, true: set[int], triple: IndexedTriple, side: str, count: int, draw: Draw) -> tuple[int, ...]:
        if len(true) >= self.num_entities:
            raise UserError(
                f"all {self.num_entities} entities are true as the {side} of the triple {tuple(triple)}, so there is "
                "no false one to draw; leave such triples out"
            )
        found: list[int] = []
        while len(found) < count:
            found += [int(entity) for entity in draw(2 * count) if entity not in true]
        return tuple(found[:count])


def contrasted(
    triples: Iterable[IndexedTriple], negatives: FilteredNegatives, count: int, draw: Draw
) -> Iterator[Contrasted]:
    """Every triple with its negatives, in order."""
    return (negatives(triple, count, draw) for triple in triples)


def pair_counts(triples: Iterable[IndexedTriple], *, start: int = 4) -> dict[tuple[int, int], int]:
    """Frequency of every (entity, relation) pair, for subsampling frequent pairs (Sun et al. 2019, RotatE).

    Keys are (head, relation) and (tail, -relation - 1); counts begin at ``start`` for the first occurrence.

    >>> pair_counts([IndexedTriple(0, 0, 2), IndexedTriple(0, 0, 1)])
    {(0, 0): 5, (2, -1): 4, (1, -1): 4}
    """
    counts: dict[tuple[int, int], int] = {}
    for head, relation, tail in triples:
        for pair in ((head, relation), (tail, -relation - 1)):
            counts[pair] = counts[pair] + 1 if pair in counts else start
    return counts
