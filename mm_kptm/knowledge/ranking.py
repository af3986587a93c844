"""Filtered ranking: where the true entity stands among all entities, other known answers left out.

For each triple the tail is sought for its head and relation, and the head for its relation and tail; whatever else is
known to be true leaves the competition (Bordes et al. 2013, section 4.1). Ties are counted three ways (Berrendorf et
al. 2020): the best rank among equals, the worst, and their mean, which is what is reported: scores that say nothing
earn no first place. A query that several triples share is scored once.

Shapes: B triples, N entities, Q distinct queries.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mm_kptm.errors import UserError
from mm_kptm.knowledge.scoring import Scorer
from mm_kptm.knowledge.stores import Integers, written_out

BLOCK = 2**26  #: bytes of scores that are held at once
HITS = (1, 3, 5, 10)
_FLOAT = 4  # bytes


@dataclass(frozen=True)
class Ranks:
    """The ranks of some true answers."""

    optimistic: Tensor  #: one more than are better, [B]
    pessimistic: Tensor  #: as many as are at least as good, itself among them, [B]
    candidates: Tensor  #: that were left after filtering, itself among them, [B]

    @property
    def realistic(self) -> Tensor:
        """The mean of the best and the worst, [B]."""
        return (self.optimistic + self.pessimistic) / 2

    def __len__(self) -> int:
        return len(self.optimistic)

    def and_also(self, other: Ranks) -> Ranks:
        """These ranks and others behind them."""
        return Ranks(
            torch.cat([self.optimistic, other.optimistic]),
            torch.cat([self.pessimistic, other.pessimistic]),
            torch.cat([self.candidates, other.candidates]),
        )


@dataclass(frozen=True)
class BothSides:
    """The ranks of the heads and of the tails of the same triples."""

    heads: Ranks
    tails: Ranks

    @property
    def both(self) -> Ranks:
        """Heads, then tails."""
        return self.heads.and_also(self.tails)


def rank(scorer: Scorer, triples: Tensor, known: Tensor, *, block: int = BLOCK) -> BothSides:
    """The filtered ranks of heads and tails.

    Args:
        scorer: of queries against every entity.
        triples: head, relation and tail by number, [B, 3].
        known: every triple that is true, those of training, validation and test, [K, 3].
        block: bytes of scores held at once, at least one row of them.

    Raises:
        UserError: there are no triples, a number has no entity, or a score is not a number.
    """
    for what, given in (("ranked", triples), ("known", known)):
        _check(what, given, scorer)
    if not len(triples):
        raise UserError("there is no triple to rank; name a file with at least one")
    entities = scorer.num_entities
    rows = max(1, block // (_FLOAT * entities))

    # NumPy sorts and seeks numbers several times quicker than torch; scores stay where the scorer has them
    columns, true = (np.ascontiguousarray(given.cpu().numpy().T) for given in (triples, known))

    def tails(keys: Tensor) -> Tensor:
        return scorer.tails(keys % entities, keys // entities)

    def heads(keys: Tensor) -> Tensor:
        return scorer.heads(keys // entities, keys % entities)

    def side(score: Callable[[Tensor], Tensor], sought: int) -> Ranks:
        queries = _Queries.of(columns, true, sought, entities)
        return _ranks(score, queries, entities, rows, triples.device)

    return BothSides(heads=side(heads, 0), tails=side(tails, 2))


@dataclass(frozen=True)
class _Queries:
    """What is asked on one side, each query once; and triples in order of their query."""

    keys: Integers  #: relation times N and the given entity: those of one relation stand together, [Q]
    order: Integers  #: of the triples, [B]
    query_of: Integers  #: of the triples in that order, [B]
    answers: Integers  #: of the triples in that order, [B]
    starts: Integers  #: where the known answers to each query begin, and the last end, [Q + 1]
    known: Integers  #: distinct known answers, query by query

    @classmethod
    def of(cls, triples: Integers, known: Integers, sought: int, entities: int) -> _Queries:
        """From triples and known ones in columns, [3, B] and [3, K]."""
        asked = triples[1] * entities + triples[2 - sought]
        order = asked.argsort()
        asked = asked[order]
        new = np.diff(asked, prepend=-1) != 0
        keys = asked[new]
        pairs = np.sort((known[1] * entities + known[2 - sought]) * entities + known[sought])
        pairs = pairs[np.diff(pairs, prepend=-1) != 0]
        first = pairs.searchsorted(keys * entities)
        counts = pairs.searchsorted((keys + 1) * entities) - first
        starts = np.concatenate([[0], counts.cumsum()])
        answered = pairs[written_out(first, counts)] % entities
        return cls(keys, order, new.cumsum() - 1, triples[sought][order], starts, answered)


def _ranks(
    score: Callable[[Tensor], Tensor], queries: _Queries, entities: int, rows: int, device: torch.device
) -> Ranks:
    """The ranks of one side; ``rows`` rows of scores at a time."""

    def moved(numbers: Integers) -> Tensor:
        return torch.from_numpy(numbers).to(device)

    better, as_good, absent = (torch.empty(len(queries.order), dtype=torch.long, device=device) for _ in range(3))
    for start in range(0, len(queries.keys), rows):
        stop = min(start + rows, len(queries.keys))
        scores = score(moved(queries.keys[start:stop]))
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
            own = true[piece : piece + rows, None]
            better[part] = (rivals > own).sum(1)
            as_good[part] = (rivals >= own).sum(1)
    left = moved(entities - np.diff(queries.starts)[queries.query_of])
    back = moved(queries.order.argsort())
    return Ranks((better + 1)[back], (as_good + absent)[back], (left + absent)[back])


def measures(ranks: Ranks) -> dict[str, float]:
    """MRR, Hits@k, mean rank and the adjusted mean rank index of realistic ranks.

    The last is 1 for perfect ranks and 0 for random ones, however many candidates there are (Berrendorf et al. 2020).
    """
    return dict(_measures(ranks.realistic.double(), ranks.candidates.double()))


def _measures(ranks: Tensor, candidates: Tensor) -> Iterator[tuple[str, float]]:
    yield "mrr", float((1 / ranks).mean())
    for k in HITS:
        yield f"hits@{k}", float((ranks <= k).double().mean())
    mean, by_chance = float(ranks.mean()), float((candidates + 1).mean() / 2)
    yield "mean_rank", mean
    yield "adjusted_mean_rank_index", 1 - (mean - 1) / (by_chance - 1) if by_chance > 1 else 0.0


def _check(what: str, triples: Tensor, scorer: Scorer) -> None:
    if triples.dim() != 2 or triples.shape[1] != 3 or triples.is_floating_point():
        raise UserError(f"{what} triples are whole numbers, three a row, not {triples.dtype} {list(triples.shape)}")
    if not len(triples):
        return
    for kind, numbers, rows in (
        ("entities", triples[:, ::2], scorer.num_entities),
        ("relations", triples[:, 1], scorer.num_relations),
    ):
        low, high = (int(end) for end in numbers.aminmax())
        if low < 0 or high >= rows:
            raise UserError(f"{what} triples have {kind} {low} to {high}, but there are vectors of {rows}, from 0 on")
