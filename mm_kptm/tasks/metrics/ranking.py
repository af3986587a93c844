"""Ranks and reciprocal ranks of the right answer among candidates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from mm_kptm.tasks.example import Row
from mm_kptm.tasks.scores import finite_scores

UNKNOWN = -1  #: the place of a gold answer that the data do not have


def rank(scores: Tensor, truth: Tensor) -> Tensor:
    """The rank of every gold answer among the candidates, from 1; 0 where there is no gold answer, [B].

    Of equal scores the first candidate wins.

    Args:
        scores: of the candidates, [B, V].
        truth: the place of the gold answer, :data:`UNKNOWN` where there is none, [B].

    Raises:
        UserError: a score is not finite.
    """
    finite_scores(scores, "candidates")
    own = scores.gather(1, truth.clamp(min=0)[:, None])
    earlier = torch.arange(scores.shape[1], device=scores.device) < truth[:, None]
    before = (scores > own) | ((scores == own) & earlier)
    return torch.where(truth == UNKNOWN, 0, 1 + before.sum(dim=1))


def over_relations(rows: Sequence[Row]) -> dict[str, float]:
    """Precision at 1 and 10 and mean reciprocal rank, macro-averaged over relations.

    >>> ranks = (("born", 1), ("born", 20), ("capital", 2))
    >>> over_relations([{"type": type_, "rank": at} for type_, at in ranks])
    {'p@1': 0.25, 'p@10': 0.75, 'mrr': 0.5125}
    """
    ranks: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        ranks[str(row["type"])].append(float(row["rank"]))
    means = [
        (
            sum(at == 1 for at in own) / len(own),
            sum(1 <= at <= 10 for at in own) / len(own),
            sum(1 / at for at in own if at) / len(own),
        )
        for own in ranks.values()
    ]
    return {name: sum(mean[place] for mean in means) / len(means) for place, name in enumerate(("p@1", "p@10", "mrr"))}


def reciprocal_rank(rows: Sequence[Row], positive: str) -> float:
    """Mean reciprocal rank of the best correct candidate of every question, by ``score``; 0 without a correct one.

    Ties share the better rank, as in the released code.

    Raises:
        UserError: a score is not finite.

    >>> scored = (("q1", "0", 0.9), ("q1", "1", 0.5), ("q2", "1", 0.7), ("q2", "0", 0.1))
    >>> reciprocal_rank([{"group": group, "target": target, "score": score} for group, target, score in scored], "1")
    0.75
    """
    finite_scores(torch.tensor([float(row["score"]) for row in rows]), "candidates")
    questions: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        questions[str(row["group"])].append(row)
    total = 0.0
    for candidates in questions.values():
        right = [float(row["score"]) for row in candidates if row["target"] == positive]
        if right:
            total += 1 / (1 + sum(float(row["score"]) > max(right) for row in candidates))
    return total / len(questions)
