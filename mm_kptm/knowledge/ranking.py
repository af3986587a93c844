"""Filtered ranking: where the true entity stands among all entities, other known answers left out.

For each triple the tail is sought for its head and relation, and the head for its relation and tail; whatever else is
known to be true leaves the competition (Bordes et al. 2013, section 4.1). Ties are counted three ways (Berrendorf et
al. 2020): the best rank among equals, the worst, and their mean, which is what is reported: scores that say nothing
earn no first place. A query that several triples share is scored once.

Shapes: B triples, N entities, Q distinct queries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mm_kptm.errors import UserError
from mm_kptm.knowledge.scoring import Scorer

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

    # columns apart, or every step below would gather them anew
    triples, known = (given.T.contiguous().T for given in (triples, known))

    def tails(keys: Tensor) -> Tensor:
        return scorer.tails(keys % entities, keys // entities)

    def heads(keys: Tensor) -> Tensor:
        return scorer.heads(keys // entities, keys % entities)

    return BothSides(
        heads=_side(heads, entities, _query(triples, 2, entities), triples[:, 0], known, 0, rows),
        tails=_side(tails, entities, _query(triples, 0, entities), triples[:, 2], known, 2, rows),
    )


def _query(triples: Tensor, given: int, entities: int) -> Tensor:
    """Each query as one number, the relation in front: those of one relation stand together."""
    return triples[:, 1] * entities + triples[:, given]


def _side(
    score: Callable[[Tensor], Tensor],
    entities: int,
    queries: Tensor,
    answers: Tensor,
    known: Tensor,
    sought: int,
    rows: int,
) -> Ranks:
    """The ranks of one side; ``rows`` rows of scores at a time."""
    distinct, query_of = queries.unique(return_inverse=True)
    removed_of, removed = _known_answers(distinct, _query(known, 2 - sought, entities), known[:, sought], entities)
    left = entities - torch.bincount(removed_of, minlength=len(distinct))
    order = query_of.argsort(stable=True)
    sorted_queries = query_of[order]
    better, as_good, absent = (torch.empty_like(answers) for _ in range(3))
    for start in range(0, len(distinct), rows):
        stop = min(start + rows, len(distinct))
        scores = score(distinct[start:stop])
        if not scores.sum().isfinite():
            raise UserError("a score is no finite number, and cannot be ranked; look at the embeddings")
        block = order[_between(sorted_queries, start, stop)]
        places = (query_of[block] - start, answers[block])
        true = scores[places]
        out = _between(removed_of, start, stop)
        scores[removed_of[out] - start, removed[out]] = torch.nan  # neither better nor as good
        absent[block] = scores[places].isnan().long()  # an answer that is known itself left with its rivals
        for piece, own_score in zip(block.split(rows), true.split(rows), strict=True):
            row = scores[query_of[piece] - start]
            better[piece] = (row > own_score[:, None]).sum(1)
            as_good[piece] = (row >= own_score[:, None]).sum(1)
    return Ranks(better + 1, as_good + absent, left[query_of] + absent)


def _known_answers(distinct: Tensor, keys: Tensor, answers: Tensor, entities: int) -> tuple[Tensor, Tensor]:
    """The distinct known answers to every query, and which query each answers, in order."""
    pairs = (keys * entities + answers).unique()
    first = torch.searchsorted(pairs, distinct * entities)
    counts = torch.searchsorted(pairs, (distinct + 1) * entities) - first
    query_of = torch.repeat_interleave(counts)
    within = torch.arange(len(query_of), device=counts.device) - (counts.cumsum(0) - counts)[query_of]
    return query_of, pairs[first[query_of] + within] % entities


def _between(values: Tensor, start: int, stop: int) -> slice:
    """Where values in order lie in ``start`` to ``stop``."""
    first, last = torch.searchsorted(values, torch.tensor([start, stop])).tolist()
    return slice(first, last)


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
        ("entities", triples[:, [0, 2]], scorer.num_entities),
        ("relations", triples[:, 1], scorer.num_relations),
    ):
        low, high = int(numbers.min()), int(numbers.max())
        if low < 0 or high >= rows:
            raise UserError(f"{what} triples have {kind} {low} to {high}, but there are vectors of {rows}, from 0 on")
