"""Score of mined sentence pairs: BUCC's F1, and the threshold chosen on development data (Zweigenbaum et al. 2018)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from typing import NamedTuple


class MinedPair(NamedTuple):
    """A candidate translation pair and its margin score."""

    source: str
    target: str
    score: float


def best_threshold(candidates: Iterable[MinedPair], gold: Set[tuple[str, str]]) -> float:
    """The score at and above which the F1 of the candidates is highest, halfway to the next candidate.

    0 where no candidate is right. Where the highest F1 is reached at the last candidate the threshold is its own score;
    the released code of XTREME fails there.

    >>> best_threshold([MinedPair("a", "b", 1.2), MinedPair("c", "d", 1.0)], {("a", "b")})
    1.1
    """
    ordered = sorted(candidates, key=lambda pair: -pair.score)  # equal scores stay in order
    threshold, best, right = 0.0, 0.0, 0
    for place, pair in enumerate(ordered):
        right += (pair.source, pair.target) in gold
        if not right:
            continue
        precision, recall = right / (place + 1), right / len(gold)
        f1 = 2 * precision * recall / (precision + recall)
        if f1 > best:
            following = ordered[place + 1].score if place + 1 < len(ordered) else pair.score
            threshold, best = (pair.score + following) / 2, f1
    return threshold


def extracted(candidates: Iterable[MinedPair], threshold: float) -> list[tuple[str, str]]:
    """The candidates whose score is at least ``threshold``, in their order."""
    return [(pair.source, pair.target) for pair in candidates if pair.score >= threshold]


def pair_scores(predictions: Sequence[tuple[str, str]], gold: Set[tuple[str, str]]) -> dict[str, float]:
    """Precision, recall and F1 of distinct pairs, in per cent.

    >>> pair_scores([("a", "b"), ("a", "b"), ("c", "d")], {("a", "b")})
    {'precision': 50.0, 'recall': 100.0, 'f1': 66.66666666666667}
    """
    distinct = set(predictions)
    right = len(distinct & gold)
    if not right:
        return {"precision": 0.0, "recall": 0.0, "f1": 0.0}
    precision, recall = right / len(distinct), right / len(gold)
    return {
        "precision": 100 * precision,
        "recall": 100 * recall,
        "f1": 100 * 2 * precision * recall / (precision + recall),
    }
