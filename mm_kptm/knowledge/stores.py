"""Triples as integers: what leaves an entity lies side by side, so that a look-up is a slice.

Compressed rows: ``starts[h]`` to ``starts[h + 1]`` are the places of what is known about entity h. A triple takes the
bytes of its tail and of its relation, and four for where it came from: about ten in all.

Shapes: M triples, N entities.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mm_kptm.errors import UserError

Integers = NDArray[np.integer]


class TripleStore:
    """Distinct triples by number, in order of their head, and among those of one head as they came.

    Args:
        triples: head, relation and tail, [M, 3]; one that is repeated counts once.
        num_entities: numbered from 0.

    Raises:
        UserError: a number is negative, or there is no such entity.
    """

    def __init__(self, triples: Integers, num_entities: int) -> None:
        triples = np.asarray(triples, dtype=np.int64).reshape(-1, 3)
        _check(triples, num_entities)
        heads, relations, tails, came = _distinct(triples, num_entities)
        counts = np.bincount(heads, minlength=num_entities)
        self.starts: Integers = np.concatenate([[0], counts.cumsum()]).astype(np.uint32)
        self.relations: Integers = relations.astype(np.min_scalar_type(int(relations.max(initial=0))))
        self.tails: Integers = tails.astype(np.min_scalar_type(max(num_entities - 1, 0)))
        #: which of the given triples stands at each place, [M]
        self.came: Integers = came.astype(np.uint32)

    @property
    def num_entities(self) -> int:
        """N."""
        return len(self.starts) - 1

    @property
    def nbytes(self) -> int:
        """What the arrays hold."""
        return sum(part.nbytes for part in (self.starts, self.relations, self.tails, self.came))

    def __len__(self) -> int:
        return len(self.tails)

    def about(self, head: int) -> slice:
        """The places of what is known about an entity."""
        return slice(int(self.starts[head]), int(self.starts[head + 1]))

    def heads_of(self, places: Integers) -> Integers:
        """Whose triples stand at some places."""
        return np.searchsorted(self.starts, places, side="right") - 1

    def reversed(self) -> TripleStore:
        """The same triples from tail to head, for what leads to an entity."""
        places = np.arange(len(self))
        return TripleStore(np.stack([self.tails, self.relations, self.heads_of(places)], axis=1), self.num_entities)

    def around(self, seed: int, hops: int) -> Integers:
        """The places of all triples that begin fewer than ``hops`` steps from an entity, the nearest first.

        Raises:
            UserError: there is no such entity, or no hop.
        """
        if not 0 <= seed < self.num_entities:
            raise UserError(f"there is no entity {seed}; they are numbered 0 to {self.num_entities - 1}")
        if hops < 1:
            raise UserError(f"neighbours are one hop away at least, not {hops}")
        seen = np.zeros(self.num_entities, dtype=bool)
        seen[seed] = True
        places = np.arange(self.starts[seed], self.starts[seed + 1], dtype=np.int64)
        found = [places]
        for _ in range(hops - 1):
            reached = np.unique(self.tails[places])
            frontier = reached[~seen[reached]]
            seen[frontier] = True
            places = _written_out(self.starts[frontier], self.starts[frontier + np.uint32(1)])
            found.append(places)
        return np.concatenate(found)


def _written_out(first: Integers, last: Integers) -> Integers:
    """The numbers of all ranges ``first`` to ``last``, range by range."""
    counts = (last - first).astype(np.int64)
    shift = first.astype(np.int64) - (counts.cumsum() - counts)
    return np.asarray(np.repeat(shift, counts) + np.arange(int(counts.sum())), dtype=np.int64)


def _distinct(triples: Integers, entities: int) -> tuple[Integers, Integers, Integers, Integers]:
    """Each triple once, by head and then as they came; and which of the given ones it was first."""
    heads, relations, tails = triples.T
    count = len(triples)
    kept = np.arange(count)
    keys = (heads * (int(relations.max(initial=0)) + 1) + relations) * entities + tails
    order = np.argsort(keys)  # by itself in an order that equal keys need not keep
    keys = keys[order]
    new = np.concatenate([[True], keys[1:] != keys[:-1]]) if count else np.zeros(0, dtype=bool)
    if not new.all():
        kept = np.sort(np.minimum.reduceat(order, np.flatnonzero(new)))
    # head and place in one number: sorting numbers is several times quicker than sorting places by a key
    kept = np.sort(heads[kept] * count + kept) % max(count, 1)
    return heads[kept], relations[kept], tails[kept], kept


def _check(triples: Integers, entities: int) -> None:
    if not len(triples):
        return
    if triples.min() < 0:
        raise UserError(f"numbers of entities and relations count from 0, but {triples.min()} is among them")
    highest, relations = int(triples[:, [0, 2]].max()), int(triples[:, 1].max()) + 1
    if highest >= entities:
        raise UserError(f"a triple is about entity {highest}, but there are {entities}, numbered from 0")
    if entities * entities * relations >= 2**63 or len(triples) >= 2**32:
        raise UserError(f"{entities} entities, {relations} relations: more than 64 bits number; split the graph")
