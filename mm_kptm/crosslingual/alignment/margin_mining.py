"""Mining of translation pairs by the margin of their similarity (Artetxe and Schwenk 2019, sections 3 and 4).

Search is exact and takes one block of queries at a time, so that memory grows with the sentences and not with their
pairs. The margin corrects for sentences that are near to everything.

Shapes: N sources, M targets, D dim, K neighbours.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.errors import UserError

Margin = Literal["ratio", "distance", "absolute"]
Retrieval = Literal["max", "intersect", "forward", "backward"]
RETRIEVALS: tuple[Retrieval, ...] = ("max", "intersect", "forward", "backward")
BLOCK = 1024  #: queries whose similarities to every candidate are held at a time


class Neighbours(NamedTuple):
    """The most similar candidates of each query: inner products [N, K], falling, and rows [N, K]."""

    similarities: Tensor
    rows: Tensor


class Mined(NamedTuple):
    """Pairs by falling score: (source row, target row) [P, 2] and margin scores [P]."""

    pairs: Tensor
    scores: Tensor


def neighbours(queries: Tensor, candidates: Tensor, k: int, *, block: int = BLOCK) -> Neighbours:
    """The ``k`` candidates [M, D] of largest inner product with each query [N, D]; all where there are fewer.

    Of equal ones the first rows are taken. A pair has the same product whichever side searches, and in whatever block.
    """
    k = min(k, len(candidates))
    found = [_products(part, candidates, _highest(part @ candidates.T, k)) for part in queries.split(block)]
    return Neighbours(torch.cat([one.similarities for one in found]), torch.cat([one.rows for one in found]))


def _highest(scores: Tensor, k: int) -> Tensor:
    """Where the ``k`` highest of each row of [N, M] stand, falling; of equal ones the first."""
    values, places = scores.topk(min(k + 1, scores.shape[1]))  # one more shows a tie at the end
    tied = (values[:, 1:] == values[:, :-1]).any(1)
    if bool(tied.any()):
        places[tied] = scores[tied].argsort(dim=1, descending=True, stable=True)[:, : places.shape[1]]
    return places[:, :k]


def _products(queries: Tensor, candidates: Tensor, rows: Tensor) -> Neighbours:
    """The inner products with given candidates, summed alike for either order of a pair, which a matrix's are not."""
    similarities = (queries[:, None] * candidates[rows]).sum(-1)
    return _ranked(similarities, rows)


def nearest(queries: Tensor, candidates: Tensor) -> Tensor:
    """The candidate [M, D] of largest cosine with each query [N, D], as rows [N]: Tatoeba's retrieval.

    XTREME takes the English sentences as queries and those of the other language as candidates.

    Raises:
        UserError: nothing to search, or vectors of different size.
    """
    _check(queries, candidates)
    return neighbours(F.normalize(queries), F.normalize(candidates), 1).rows[:, 0]


def mine(
    source: Tensor,
    target: Tensor,
    *,
    k: int = 4,
    margin: Margin = "ratio",
    retrieval: Retrieval = "max",
    shift: bool = False,
    min_score: float = 0.0,
    block: int = BLOCK,
) -> Mined:
    r"""Translation pairs among source [N, D] and target [M, D] vectors, each sentence in one pair at most.

    .. math:: s(x, y) = \mathrm{margin}\left(\cos(x, y),
        \tfrac{1}{2k} \sum_{z \in NN_k(x)} \cos(x, z) + \tfrac{1}{2k} \sum_{z \in NN_k(y)} \cos(y, z)\right)

    Candidates are each sentence's best neighbour on the other side, in both directions, and they are accepted greedily
    by falling score (``max``); or those pairs alone of which each is the best of the other (``intersect``), in the
    order of the sources and whatever they score; or the best target of each source (``forward``), or the best source of
    each target (``backward``), where a sentence of the other side may come twice.

    Args:
        source: vectors, not necessarily normalised; one row per distinct sentence.
        target: vectors of the other language.
        k: neighbours on each side.
        margin: quotient of the two, difference, or the cosine alone.
        retrieval: which candidates are accepted.
        shift: whether the difference of the means of both sides is taken off the vectors that search, and score.
        min_score: pairs of ``max`` must score more, as in LASER and XTREME; their sentences are used up either way.
        block: queries per block of the search.

    Raises:
        UserError: nothing to search, vectors of different size, or an unknown retrieval.
    """
    if retrieval not in RETRIEVALS:
        raise UserError(f"pairs are retrieved by {', '.join(RETRIEVALS)}, not by {retrieval!r}")
    found = _searched(source, target, k=k, margin=margin, shift=shift, block=block)
    sources = torch.arange(len(source), device=source.device)
    targets = torch.arange(len(target), device=target.device)
    ahead = torch.stack([sources, found.ahead.rows[:, 0]], 1)
    back = torch.stack([found.back.rows[:, 0], targets], 1)
    if retrieval == "forward":
        return Mined(ahead, found.ahead.similarities[:, 0])
    if retrieval == "backward":
        return Mined(back, found.back.similarities[:, 0])
    if retrieval == "intersect":
        mutual = found.back.rows[ahead[:, 1], 0] == sources
        return Mined(ahead[mutual], found.ahead.similarities[mutual, 0])
    candidates = torch.cat([ahead, back])
    scores = torch.cat([found.ahead.similarities[:, 0], found.back.similarities[:, 0]])
    order = scores.argsort(descending=True, stable=True)
    chosen = _greedy(candidates[order].tolist())
    places = order[torch.tensor(chosen, device=order.device)]
    kept = places[scores[places] > min_score]
    return Mined(candidates[kept], scores[kept])


def margin_nearest(source: Tensor, target: Tensor, *, k: int = 4, margin: Margin = "ratio") -> Tensor:
    """The target of the best margin score with each source, among its ``k`` nearest, as rows [N].

    Raises:
        UserError: nothing to search, or vectors of different size.
    """
    return _searched(source, target, k=k, margin=margin).ahead.rows[:, 0]


def margin_scores(source: Tensor, target: Tensor, pairs: Tensor, *, k: int = 4, margin: Margin = "ratio") -> Tensor:
    """The margin score of given pairs of rows (source, target) [P, 2] among all vectors, [P].

    Raises:
        UserError: nothing to compare, or vectors of different size.
    """
    found = _searched(source, target, k=k, margin=margin)
    left, right = pairs.unbind(1)
    cosine = (F.normalize(source)[left] * F.normalize(target)[right]).sum(1)
    return _scores(cosine, found.source_mean[left], found.target_mean[right], margin)


class _Search(NamedTuple):
    """Candidates of both sides by falling margin score, and the mean cosine of each sentence to its neighbours."""

    ahead: Neighbours  #: margin scores and target rows of each source
    back: Neighbours  #: margin scores and source rows of each target
    source_mean: Tensor
    target_mean: Tensor


def _searched(
    source: Tensor, target: Tensor, *, k: int, margin: Margin, shift: bool = False, block: int = BLOCK
) -> _Search:
    _check(source, target)
    source, target = F.normalize(source), F.normalize(target)
    gap = source.mean(0) - target.mean(0) if shift else torch.zeros_like(source[0])
    forward = neighbours(source - gap, target, k, block=block)
    backward = neighbours(target + gap, source, k, block=block)
    source_mean, target_mean = forward.similarities.mean(1), backward.similarities.mean(1)
    ahead = _scores(forward.similarities, source_mean[:, None], target_mean[forward.rows], margin)
    back = _scores(backward.similarities, target_mean[:, None], source_mean[backward.rows], margin)
    return _Search(_ranked(ahead, forward.rows), _ranked(back, backward.rows), source_mean, target_mean)


def _ranked(scores: Tensor, rows: Tensor) -> Neighbours:
    """Candidates by falling score; of equal ones the nearer stays first."""
    order = scores.argsort(dim=1, descending=True, stable=True)
    return Neighbours(scores.gather(1, order), rows.gather(1, order))


def _scores(cosine: Tensor, ours: Tensor, theirs: Tensor, margin: Margin) -> Tensor:
    mean = (ours + theirs) / 2
    if margin == "ratio":
        return cosine / mean
    return cosine - mean if margin == "distance" else cosine


def _greedy(candidates: list[list[int]]) -> list[int]:
    """The places of the candidates whose sentences no earlier one has used."""
    used_sources: set[int] = set()
    used_targets: set[int] = set()
    chosen = []
    for place, (source, target) in enumerate(candidates):
        if source not in used_sources and target not in used_targets:
            used_sources.add(source)
            used_targets.add(target)
            chosen.append(place)
    return chosen


def _check(first: Tensor, second: Tensor) -> None:
    if not len(first) or not len(second):
        raise UserError(f"{len(first)} vectors are to be matched with {len(second)}; both sides need one at least")
    if first.shape[1] != second.shape[1]:
        raise UserError(
            f"vectors of {first.shape[1]} and of {second.shape[1]} dims cannot be compared; encode both with one model"
        )
