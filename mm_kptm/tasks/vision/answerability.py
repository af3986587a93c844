"""Whether a question about an image can be answered at all.

Shapes: B questions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mm_kptm.errors import UserError
from mm_kptm.tasks.example import Row
from mm_kptm.tasks.labelling import Labelled
from mm_kptm.tasks.vision.visual_entailment import VisualEntailment

ANSWERABLE, UNANSWERABLE = "answerable", "unanswerable"


class Answerability(VisualEntailment):
    """Can a question of a blind person be answered from the photograph (Gurari et al. 2018, VizWiz, section 4.2)?"""

    name = "answerability"
    HEADS = ("vqa",)

    @torch.no_grad()
    def predict(self, batch: Labelled) -> list[Row]:
        """The label of each question, and the probability that it can be answered."""
        chances = self.scores(batch).softmax(1)[:, self.labels.index(ANSWERABLE)].tolist()
        rows = super().predict(batch)
        return [{**row, "p": chance} for row, chance in zip(rows, chances, strict=True)]

    def summary(self, rows: Sequence[Row]) -> dict[str, float]:
        """Average precision and F1 of the unanswerable questions, as in the released evaluation."""
        gold = [row["target"] == UNANSWERABLE for row in rows]
        chances = [1 - float(row["p"]) for row in rows]
        if not any(gold):
            return {}
        found = [chance > 0.5 for chance in chances]
        right = sum(one and other for one, other in zip(gold, found, strict=True))
        f1 = 2 * right / (sum(gold) + sum(found))
        return {"unanswerable-ap": average_precision(gold, chances), "unanswerable-f1": f1}


def average_precision(gold: Sequence[bool], scores: Sequence[float]) -> float:
    r"""Precision averaged over the steps of recall, as scikit-learn defines it.

    .. math:: \sum_n (R_n - R_{n-1}) P_n

    where equal scores are one step.

    Raises:
        UserError: no example is positive.

    >>> average_precision([True, False, True], [0.9, 0.8, 0.7])
    0.8333333333333333
    """
    positives = sum(gold)
    if not positives:
        raise UserError("average precision was asked for, but no example is positive")
    total, right, seen = 0.0, 0, 0
    by_score: dict[float, list[bool]] = {}
    for score, own in zip(scores, gold, strict=True):
        by_score.setdefault(score, []).append(own)
    for score in sorted(by_score, reverse=True):
        step = by_score[score]
        seen += len(step)
        right += sum(step)
        total += sum(step) / positives * right / seen
    return total
