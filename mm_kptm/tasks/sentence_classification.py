"""Classification of sentences and of pairs of sentences: sentiment, paraphrase, which passage answers a question.

Shapes: B texts, C classes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch

from mm_kptm.tasks.labels import Labelled, OneLabel
from mm_kptm.tasks.protocol import Row
from mm_kptm.tasks.relation import micro

CANDIDATE = "candidate"  #: the type of examples that are candidate answers; their group is the question


class SentenceClassification(OneLabel):
    """Name the class of a sentence or of a pair (Liu et al. 2020, K-BERT, section 4.3).

    Accuracy; with two classes, the second being the positive one, its precision, recall and F1 as well, and where
    examples are candidate answers to questions, the mean reciprocal rank of the best right one.
    """

    name = "sentence-classification"
    HEADS = ("classifier",)

    @torch.no_grad()
    def predict(self, batch: Labelled) -> list[Row]:
        """The best class, and how probable the last class is."""
        logits = self(batch.inputs)
        probable = logits.softmax(dim=1)[:, -1].tolist()
        given = self.given(logits).tolist()
        rows = (self.row(about, chosen) for about, chosen in zip(batch.about, given, strict=True))
        return [{**row, "score": score} for row, score in zip(rows, probable, strict=True)]

    def summary(self, rows: Sequence[Row]) -> dict[str, float]:
        """Precision, recall and F1 of the positive one of two classes, and the mean reciprocal rank of candidates."""
        if len(self.labels) != 2:
            return {}
        negative, positive = self.labels
        found = micro(rows, no_relation=negative)
        candidates = [row for row in rows if row["type"] == CANDIDATE]
        return found if not candidates else {**found, "mrr": reciprocal_rank(candidates, positive)}


def reciprocal_rank(rows: Sequence[Row], positive: str) -> float:
    """The mean over questions of one over the rank of the best right candidate, by ``score``; 0 where none is right.

    Candidates of equal score share the better rank, as in the released code.

    >>> told = (("q1", "0", 0.9), ("q1", "1", 0.5), ("q2", "1", 0.7), ("q2", "0", 0.1))
    >>> reciprocal_rank([{"group": group, "target": target, "score": score} for group, target, score in told], "1")
    0.75
    """
    questions: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        questions[str(row["group"])].append(row)
    total = 0.0
    for candidates in questions.values():
        right = [float(row["score"]) for row in candidates if row["target"] == positive]
        if right:
            total += 1 / (1 + sum(float(row["score"]) > max(right) for row in candidates))
    return total / len(questions)
