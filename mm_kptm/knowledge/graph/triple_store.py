"""Triples by id in compressed sparse rows: the triples of a head are contiguous, so that a look-up is a slice.

Compressed rows: ``starts[h]`` to ``starts[h + 1]`` are the places of what is known about entity h. A triple takes the
bytes of its tail and of its relation, about five in all; the order in which triples came takes four more, where it is
kept (:class:`OrderedStore`). A neighbourhood is the entities that it begins at: its triples are read when asked for.

Shapes: M triples, N entities, S seeds, R entities of all neighbourhoods.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mm_kptm.errors import UserError

Integers = NDArray[np.integer]
_TOGETHER = 64  #: seeds whose neighbourhoods grow side by side: enough to hide the calls, few enough for the caches
_SPARSE = 16  #: fewer numbers than one in so many are sorted, more are ticked off in a list of all
_PIECE = 1 << 18  #: numbers of a temporary array
_FEW = 32  #: calls of NumPy cost more than such small sets do


class TripleStore:
    """Distinct triples by id, sorted by head, and in input order for each head.

    Args:
        triples: head, relation and tail, [M, 3]; one that is repeated counts once.
        num_entities: numbered from 0.

    Raises:
        UserError: the triples are no whole numbers, one is negative, or there is no such entity.

    >>> store = TripleStore([[0, 0, 1], [1, 0, 2], [2, 1, 0]], num_entities=3)
    >>> store.around(0, hops=2).triples.tolist()
    [[0, 0, 1], [1, 0, 2]]
    """

    def __init__(self, triples: Integers | Sequence[Sequence[int]], num_entities: int) -> None:
        self._fill(triples, num_entities)

    def _fill(self, triples: Integers | Sequence[Sequence[int]], entities: int) -> Integers:
        """Fill the arrays; returns the input index of each stored triple, [M]."""
        heads, relations, tails = _columns(np.asarray(triples), entities)
        came, starts = _distinct(heads, relations, tails, entities)
        self.starts: Integers = starts.astype(np.int32 if len(came) < 2**31 else np.int64)
        self.relations: Integers = _taken(relations, came, np.min_scalar_type(int(relations.max(initial=0))))
        self.tails: Integers = _taken(tails, came, np.min_scalar_type(max(entities - 1, 0)))
        return came

    @property
    def num_entities(self) -> int:
        """Number of entities, N."""
        return len(self.starts) - 1

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return self.starts.nbytes + self.relations.nbytes + self.tails.nbytes

    def __len__(self) -> int:
        return len(self.tails)

    def about(self, head: int) -> slice:
        """Slice of the triples with this head."""
        return slice(int(self.starts[head]), int(self.starts[head + 1]))

    def heads_of(self, places: Integers) -> Integers:
        """Heads of the triples at these indices."""
        return np.searchsorted(self.starts, places, side="right") - 1

    def reversed(self) -> TripleStore:
        """Store of the reversed triples, from tail to head."""
        heads = np.repeat(np.arange(self.num_entities), np.diff(self.starts))
        return TripleStore(np.stack([self.tails, self.relations, heads], axis=1), self.num_entities)

    def around(self, seed: int, hops: int) -> Around:
        """Triples in the ``hops``-hop neighbourhood of an entity, nearest first.

        Raises:
            UserError: there is no such entity, or no hop.
        """
        if not 0 <= seed < self.num_entities:
            raise UserError(f"there is no entity {seed}; they are numbered 0 to {self.num_entities - 1}")
        _check_hops(hops)
        reached, seen = self.tails[self.about(seed)], np.array([seed])
        found = [seen]
        for hop in range(1, hops):
            met = _fresh(reached, seen, self.num_entities)
            if not len(met):
                break  # nothing new is reached, however many hops were asked for
            found.append(met)
            if hop + 1 < hops:
                seen = np.sort(np.concatenate([seen, met]))
                reached = self._tails_of(met)[0]
        entities = np.concatenate(found)
        return Around(self, entities, np.array([0, len(entities)]))

    def around_each(self, seeds: Integers | Sequence[int], hops: int) -> Around:
        """Neighbourhoods of several entities in turn, much faster than one call for each.

        Raises:
            UserError: there is no such entity, or no hop.
        """
        asked = np.asarray(seeds, dtype=np.int64)
        if len(asked) and not 0 <= asked.min() <= asked.max() < self.num_entities:
            wrong = asked[(asked < 0) | (asked >= self.num_entities)][0]
            raise UserError(f"there is no entity {wrong}; they are numbered 0 to {self.num_entities - 1}")
        _check_hops(hops)
        if hops == 1:
            return Around(self, asked, np.arange(len(asked) + 1))
        parts = [self._near(asked[start : start + _TOGETHER], hops) for start in range(0, len(asked), _TOGETHER)]
        entities = np.concatenate([part for part, _ in parts]) if parts else asked
        return Around(self, entities, ends_of(np.concatenate([counts for _, counts in parts]) if parts else asked))

    def _near(self, seeds: Integers, hops: int) -> tuple[Integers, Integers]:
        """Entities fewer than ``hops`` hops away, seed by seed, and their number per seed."""
        entities = self.num_entities
        # a seed and an entity in one number, so that one call serves all seeds
        keys: Integers = np.arange(len(seeds)) * entities + seeds
        met, seen, found = seeds, keys, [keys]
        for hop in range(1, hops):
            tails, counts = self._tails_of(met)
            keys = _fresh(tails + np.repeat(keys - met, counts), seen, len(seeds) * entities)
            if not len(keys):
                break
            found.append(keys)
            if hop + 1 < hops:
                seen = np.sort(np.concatenate([seen, keys]))
                met = keys % entities
        every = np.concatenate(found)
        of = every // entities
        order = of.argsort(kind="stable")
        return (every - of * entities)[order], np.bincount(of, minlength=len(seeds))

    def _tails_of(self, heads: Integers) -> tuple[Integers, Integers]:
        """Tails of these heads, and the number of triples of each head."""
        first = self.starts[heads]
        counts = self.starts[heads + 1] - first
        return self.tails[written_out(first, counts)], counts


class OrderedStore(TripleStore):
    """Triple store that also keeps the input order."""

    def __init__(self, triples: Integers | Sequence[Sequence[int]], num_entities: int) -> None:
        #: which of the given triples stands at each place, [M]
        self.came: Integers = self._fill(triples, num_entities)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return super().nbytes + self.came.nbytes


@dataclass(frozen=True, eq=False)
class Around:
    """Neighbourhood of one or several entities: all triples whose head is among its entities.

    The number of triples costs nothing more; the columns are written out when they are first read.
    """

    store: TripleStore
    entities: Integers  #: whose triples these are, those of one seed together, the nearest first, [R]
    bounds: Integers  #: where the entities of each seed begin, and the last end, [S + 1]

    @property
    def counts(self) -> Integers:
        """Number of triples of each entity, [R]."""
        return self.store.starts[self.entities + 1] - self.store.starts[self.entities]

    def __len__(self) -> int:
        return int(np.add.reduce(self.counts))

    @property
    def sizes(self) -> Integers:
        """Number of triples of each seed, [S]."""
        return np.diff(ends_of(self.counts)[self.bounds])

    @cached_property
    def places(self) -> Integers:
        """Indices of the triples in the store."""
        return written_out(self.store.starts[self.entities], self.counts)

    @property
    def heads(self) -> Integers:
        """Heads of the triples."""
        return np.repeat(self.entities.astype(self.store.tails.dtype), self.counts)

    @property
    def relations(self) -> Integers:
        """Relations of the triples."""
        return self.store.relations[self.places]

    @property
    def tails(self) -> Integers:
        """Tails of the triples."""
        return self.store.tails[self.places]

    @property
    def triples(self) -> Integers:
        """Head, relation and tail of each triple."""
        return np.stack([self.heads, self.relations, self.tails], axis=1)


def _check_hops(hops: int) -> None:
    if hops < 1:
        raise UserError(f"neighbours are one hop away at least, not {hops}")


def _columns(triples: Integers, entities: int) -> Integers:
    """Checked columns, [3, M]."""
    if triples.size == 0:
        return np.zeros((3, 0), dtype=np.int64)
    if triples.dtype.kind not in "iu" or triples.ndim != 2 or triples.shape[1] != 3:
        raise UserError(f"triples are whole numbers, three a row, not {triples.dtype} {list(triples.shape)}")
    if (lowest := triples.min()) < 0:
        raise UserError(f"numbers of entities and relations count from 0, but {lowest} is among them")
    columns = triples.T
    highest, relations = int(columns[::2].max()), int(columns[1].max()) + 1
    if highest >= entities:
        raise UserError(f"a triple is about entity {highest}, but there are {entities}, numbered from 0")
    if 2 * entities.bit_length() + relations.bit_length() > 63 or columns.shape[1] >= 2**32:
        raise UserError(f"{entities} entities, {relations} relations: more than 64 bits number; split the graph")
    return columns


def _distinct(heads: Integers, relations: Integers, tails: Integers, entities: int) -> tuple[Integers, Integers]:
    """Indices of the first occurrences of distinct triples, by head and then input order; and the start of each head.

    Arrays of as many numbers as triples are few and made in place or piece by piece: they are what a large graph costs.
    """
    count = len(heads)
    bits = [int(column.max(initial=0)).bit_length() for column in (heads, relations, tails)]
    room = count.bit_length()

    def packed(some: slice) -> Integers:
        """A number for each triple."""
        numbers = heads[some].astype(np.int64)
        numbers <<= bits[1]
        numbers |= relations[some]
        numbers <<= bits[2]
        numbers |= tails[some]
        return numbers

    keys = packed(slice(None))
    # a key and its place in one number: sorting numbers is several times quicker than sorting places by a key
    if sum(bits) + room <= 63:
        keys <<= room
        for start in range(0, count, _PIECE):
            keys[start : start + _PIECE] |= np.arange(start, min(start + _PIECE, count))
        keys.sort()
        new = _new(keys, room)
        first: Integers = np.empty(np.count_nonzero(new), np.uint32)
        filled = 0
        for start in range(0, count, _PIECE):
            some = keys[start : start + _PIECE][new[start : start + _PIECE]]
            first[filled : filled + len(some)] = some & ((1 << room) - 1)
            filled += len(some)
        del new, keys
    else:  # there is no room for it, so only the keys that come again are looked for, which are few as a rule
        keys.sort()
        repeated = np.unique(keys[~_new(keys)])
        del keys
        first = _without_repetitions(packed, repeated, count)
    by_head = _taken(heads, first, np.dtype(np.int64))
    by_head <<= room
    by_head |= first
    del first
    by_head.sort()
    ends = np.arange(entities + 1)
    ends <<= room
    starts = by_head.searchsorted(ends)
    del ends
    by_head &= (1 << room) - 1
    return by_head.astype(np.uint32), starts


def _without_repetitions(packed: Callable[[slice], Integers], repeated: Integers, count: int) -> Integers:
    """Indices of the first occurrences among ``count`` keys, of which those in ``repeated`` occur again; in order."""
    kept = np.ones(count, dtype=bool)
    seen = np.zeros(len(repeated), dtype=bool)
    for start in range(0, count if len(repeated) else 0, _PIECE):
        keys = packed(slice(start, start + _PIECE))
        at = repeated.searchsorted(keys)
        at[at == len(repeated)] = 0
        again = np.flatnonzero(repeated[at] == keys)
        met, earliest = np.unique(at[again], return_index=True)
        kept[start + again] = False
        kept[start + again[earliest[~seen[met]]]] = True
        seen[met] = True
    places = np.arange(count, dtype=np.uint32)
    return places[kept] if len(repeated) else places


def _taken(values: Integers, places: Integers, dtype: np.dtype[np.integer]) -> Integers:
    """The values at some places, of another type."""
    taken = np.empty(len(places), dtype)
    for start in range(0, len(places), _PIECE):
        taken[start : start + _PIECE] = values[places[start : start + _PIECE]]
    return taken


def _new(values: Integers, low: int = 0) -> NDArray[np.bool_]:
    """Mask of the values that differ from their predecessor, their ``low`` lowest bits aside."""
    new = np.ones(len(values), dtype=bool)
    for start in range(1, len(values), _PIECE):
        shifted = values[start - 1 : start + _PIECE] >> low
        np.not_equal(shifted[1:], shifted[:-1], out=new[start : start + _PIECE])
    return new


def _fresh(values: Integers, seen: Integers, high: int) -> Integers:
    """Distinct values below ``high`` that are not in ``seen``, sorted; ``seen`` is sorted too."""
    if len(values) < _FEW:
        return np.array(sorted(set(values.tolist()).difference(seen.tolist())), dtype=np.int64)
    if len(values) * _SPARSE > high:
        met = np.zeros(high, dtype=bool)
        met[values] = True
        met[seen] = False
        return np.flatnonzero(met)
    values = np.sort(values)
    values = values[_new(values)]
    at = seen.searchsorted(values)
    at[at == len(seen)] = 0
    return values[seen[at] != values]


def written_out(first: Integers, counts: Integers) -> Integers:
    """Ranges of ``counts`` consecutive integers from each ``first`` on, concatenated."""
    ends = counts.cumsum(dtype=np.int64)
    numbers: Integers = np.repeat(first - (ends - counts), counts)
    numbers += np.arange(len(numbers))
    return numbers


def ends_of(sizes: Integers) -> Integers:
    """Offsets: 0 and the cumulative sums."""
    return np.concatenate([[0], sizes.cumsum(dtype=np.int64)])
