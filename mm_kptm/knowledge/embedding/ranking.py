"""Filtered ranking of the true entity among all entities (Bordes et al. 2013, section 4.1).

Each triple gives two queries: the tail for its head and relation, the head for its relation and tail; other entities
known to be true answers are filtered out. Ties are counted three ways (Berrendorf et al. 2020): the optimistic rank,
the pessimistic rank, and their mean, the realistic rank, which is reported: a constant score gets no first place. A
query that several triples share is scored once.

Shapes: B triples, N entities, Q distinct queries.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mm_kptm.errors import UserError
from mm_kptm.knowledge.embedding.scoring import Scorer
from mm_kptm.knowledge.graph.triple_store import Integers, ends_of, written_out
from mm_kptm.train.parallel.processes import all_gather_object, rank_and_world_size

BLOCK = 2**26  #: bytes of scores in the memory of a CPU at once
HITS = (1, 3, 5, 10)
_FLOAT = 4  # bytes
_LARGEST = 2**63  # of 64 bits
_EXACT = 2**24  # whole numbers up to here are exact in 32-bit floats

Reals = NDArray[np.float64]


@dataclass(frozen=True)
class Ranks:
    """Ranks of B true answers."""

    optimistic: Tensor  #: 1 + number of better candidates, [B]
    pessimistic: Tensor  #: number of candidates at least as good, the answer included, [B]
    candidates: Tensor  #: number of candidates after filtering, the answer included, [B]

    @classmethod
    def joined(cls, parts: Sequence[Ranks]) -> Ranks:
        """The ranks of all parts, in order, on the host."""
        columns = zip(*((part.optimistic, part.pessimistic, part.candidates) for part in parts), strict=True)
        return cls(*(torch.cat(column).cpu() for column in columns))

    @property
    def realistic(self) -> Tensor:
        """Mean of the optimistic and the pessimistic rank, [B]."""
        return (self.optimistic + self.pessimistic) / 2

    def __len__(self) -> int:
        return len(self.optimistic)

    def __getitem__(self, some: slice) -> Ranks:
        """Ranks of a slice of the answers."""
        return Ranks(self.optimistic[some], self.pessimistic[some], self.candidates[some])


@dataclass(frozen=True)
class BothSides:
    """Head ranks and tail ranks of the same triples."""

    both: Ranks  #: heads, then tails, [2 B]

    @property
    def heads(self) -> Ranks:
        """Ranks of the heads, [B]."""
        return self.both[: len(self.both) // 2]

    @property
    def tails(self) -> Ranks:
        """Ranks of the tails, [B]."""
        return self.both[len(self.both) // 2 :]


@torch.no_grad()
def rank(scorer: Scorer, triples: Tensor, known: Tensor, *, block: int | None = None) -> BothSides:
    """Filtered ranks of the heads and tails of triples, scored where the scorer has its vectors.

    Several processes of a launch rank a part each, and all get the ranks of all.

    Args:
        scorer: scores queries against every entity.
        triples: head, relation and tail ids, [B, 3].
        known: all true triples, of training, validation and test, [K, 3].
        block: bytes of scores in memory at once; at least one row is scored. None: by the memory of the device.

    Raises:
        UserError: no triples, an id out of range, or a score that is not finite.
    """
    # NumPy sorts and seeks numbers several times quicker than torch; scores stay where the scorer has them
    asked, true = _columns("ranked", triples, scorer), _columns("known", known, scorer)
    if not len(triples):
        raise UserError("there is no triple to rank; name a file with at least one")
    size = memory_block(scorer.device) if block is None else block
    rows = max(1, size // (_FLOAT * scorer.num_entities))
    process, processes = rank_and_world_size()
    if processes == 1:
        return BothSides(_ranked(scorer, asked, true, rows))
    mine = np.array_split(asked, processes, axis=1)[process]
    ranks = _ranked(scorer, mine, true, rows) if mine.size else None
    parts = [BothSides(part) for part in all_gather_object(ranks) if part is not None]
    return BothSides(Ranks.joined([*(part.heads for part in parts), *(part.tails for part in parts)]))


def _ranked(scorer: Scorer, triples: Integers, known: Integers, rows: int) -> Ranks:
    """Ranks of the heads, then the tails, of triples [3, B], on the host."""
    queries = _Queries.of(triples, known, scorer.num_entities, scorer.num_relations)
    return Ranks.joined([_ranks(scorer, queries, rows, scorer.device)])


def memory_block(device: torch.device) -> int:
    """Bytes of scores at once: what a CPU reads well, or a quarter of the free memory of another device."""
    if device.type == "cpu":
        return BLOCK
    free, _ = torch.get_device_module(device).mem_get_info(device)
    return max(BLOCK, int(free) // 4)


@dataclass(frozen=True)
class _Queries:
    """Distinct queries, heads before tails, and the answers sorted by query.

    A query is one integer: (relation, plus R for tail queries) * N + the given entity.
    """

    keys: Integers  #: ascending, so that the queries of one relation are contiguous, [Q]
    order: Integers  #: positions of the sorted answers among heads, then tails, [2 B]
    query_of: Integers  #: query of each sorted answer, [2 B]
    answers: Integers  #: sorted by query, [2 B]
    starts: Integers  #: offsets of the known answers of each query, and the end, [Q + 1]
    known: Integers  #: distinct known answers, sorted by query

    @classmethod
    def of(cls, triples: Integers, known: Integers, entities: int, relations: int) -> _Queries:
        """Build from triples [3, B] and known triples [3, K], as columns."""

        def asked(columns: Integers) -> Integers:
            heads, relation, tails = columns
            return np.concatenate([relation * entities + tails, (relation + relations) * entities + heads])

        def answers(columns: Integers) -> Integers:
            return columns[::2].reshape(-1)

        number = np.int32 if 2 * relations * entities * entities < 2**31 else np.int64
        triples, known = triples.astype(number), known.astype(number)
        keys = asked(triples)
        order = keys.argsort()
        keys = keys[order]
        new = _first_of_equals(keys)
        query_of = new.cumsum() - 1
        keys = keys[new]
        if 2 * relations * entities**2 < _LARGEST:
            pairs = np.sort(asked(known) * entities + answers(known))
            pairs = pairs[_first_of_equals(pairs)]
            bounds = pairs.searchsorted(np.stack([keys, keys + 1]) * entities)
            every = pairs
        else:  # a query and its answer are too large for one integer together
            of_known, every = asked(known), answers(known)
            ascending = np.lexsort((every, of_known))
            of_known, every = of_known[ascending], every[ascending]
            distinct = _first_of_equals(of_known) | _first_of_equals(every)
            of_known, every = of_known[distinct], every[distinct]
            bounds = of_known.searchsorted(np.stack([keys, keys + 1]))
        counts = bounds[1] - bounds[0]
        answered = every[written_out(bounds[0], counts)] % entities
        return cls(keys, order, query_of, answers(triples)[order], ends_of(counts), answered)


def _ranks(scorer: Scorer, queries: _Queries, rows: int, device: torch.device) -> Ranks:
    """Ranks of all answers, scoring ``rows`` queries at a time."""

    def moved(numbers: Integers) -> Tensor:
        return torch.from_numpy(numbers).to(device, torch.long)

    better, as_good, absent = torch.empty(3, len(queries.order), dtype=torch.long, device=device)
    for start in range(0, len(queries.keys), rows):
        stop = min(start + rows, len(queries.keys))
        scores = _scores(scorer, queries.keys[start:stop], moved)
        if not math.isfinite(float(scores.sum())):
            raise UserError("a score is no finite number, and cannot be ranked; look at the embeddings")
        first, last = queries.query_of.searchsorted((start, stop)).tolist()
        row, answer = moved(queries.query_of[first:last] - start), moved(queries.answers[first:last])
        true = scores[row, answer]
        removed_of = np.repeat(np.arange(stop - start), np.diff(queries.starts[start : stop + 1]))
        removed = queries.known[queries.starts[start] : queries.starts[stop]]
        scores[moved(removed_of), moved(removed)] = torch.nan  # neither better nor as good
        absent[first:last] = scores[row, answer].isnan()  # an answer that is known itself left with its rivals
        for piece in range(0, last - first, rows):
            part = slice(first + piece, min(first + piece + rows, last))
            rivals = scores.index_select(0, row[piece : piece + rows])
            better[part], as_good[part] = _counts(rivals, true[piece : piece + rows, None])
    left = moved(scorer.num_entities - np.diff(queries.starts)[queries.query_of])
    came = np.empty_like(queries.order)
    came[queries.order] = np.arange(len(came))
    return Ranks(*torch.stack([better + 1, as_good + absent, left + absent])[:, moved(came)])


def _scores(scorer: Scorer, keys: Integers, moved: Callable[[Integers], Tensor]) -> Tensor:
    """Scores of every entity as the answer to each query, [Q, N]."""
    relations, given = map(moved, np.divmod(keys, scorer.num_entities))
    heads = int(keys.searchsorted(scorer.num_relations * scorer.num_entities))
    sides = []
    if heads:
        sides.append(scorer.heads(relations[:heads], given[:heads]))
    if heads < len(keys):
        sides.append(scorer.tails(given[heads:], relations[heads:] - scorer.num_relations))
    return torch.cat(sides) if len(sides) > 1 else sides[0]


def measures(ranks: Ranks) -> dict[str, float]:
    """MRR, Hits@k, mean rank and adjusted mean rank index of the realistic ranks.

    The adjusted index is 1 for perfect and 0 for random ranks, for any number of candidates (Berrendorf et al. 2020).
    """
    best, worst, candidates = (
        numbers.cpu().numpy() for numbers in (ranks.optimistic, ranks.pessimistic, ranks.candidates)
    )
    return dict(_measures((best + worst) / 2, candidates))


def _measures(ranks: Reals, candidates: Reals) -> Iterator[tuple[str, float]]:
    yield "mrr", float((1 / ranks).mean())
    for k in HITS:
        yield f"hits@{k}", float((ranks <= k).mean())
    mean, by_chance = float(ranks.mean()), float((candidates.mean() + 1) / 2)
    yield "mean_rank", mean
    yield "adjusted_mean_rank_index", 1 - (mean - 1) / (by_chance - 1) if by_chance > 1 else 0.0


def _counts(rivals: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """Number of entries of each row [B, N] greater than, and at least, ``own`` [B, 1]; overwrites ``rivals``."""
    if rivals.shape[1] > _EXACT:
        return (rivals > own).sum(1), (rivals >= own).sum(1)
    # float comparisons are several times faster than boolean ones
    more = torch.gt(rivals, own, out=torch.empty_like(rivals, dtype=torch.float32)).sum(1)
    return more, rivals.ge_(own).sum(1, dtype=torch.float32)


def _first_of_equals(ascending: Integers) -> NDArray[np.bool_]:
    first = np.ones(len(ascending), dtype=np.bool_)
    np.not_equal(ascending[1:], ascending[:-1], out=first[1:])
    return first


def _columns(what: str, triples: Tensor, scorer: Scorer) -> Integers:
    """Columns of triples as checked integers: heads, relations and tails, [3, B]."""
    if triples.dim() != 2 or triples.shape[1] != 3 or triples.is_floating_point():
        raise UserError(f"{what} triples are whole numbers, three a row, not {triples.dtype} {list(triples.shape)}")
    columns: Integers = np.ascontiguousarray(triples.cpu().numpy().T)
    if not len(triples):
        return columns
    low, high = columns.min(1), columns.max(1)
    for kind, place, rows in (("entities", [0, 2], scorer.num_entities), ("relations", [1], scorer.num_relations)):
        least, most = low[place].min(), high[place].max()
        if least < 0 or most >= rows:
            raise UserError(f"{what} triples have {kind} {least} to {most}, but there are vectors of {rows}, from 0 on")
    return columns
