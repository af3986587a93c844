"""Classification of sentences and sentence pairs: sentiment, paraphrase, answer selection.

Shapes: B texts, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mm_kptm.tasks.example import Row
from mm_kptm.tasks.labelling import Labelled, OneLabel
from mm_kptm.tasks.metrics.classification import micro
from mm_kptm.tasks.metrics.ranking import reciprocal_rank

CANDIDATE = "candidate"  #: type of examples that are candidate answers; their group is the question


class SentenceClassification(OneLabel):
    """Classification of a sentence or sentence pair (Liu et al. 2020, K-BERT, section 4.3).

    Accuracy; with two classes, precision, recall and F1 of the second (positive) one, and where examples are candidate
    answers to questions, the mean reciprocal rank of the best correct one.
    """

    name = "sentence-classification"
    HEADS = ("classifier",)

    @torch.no_grad()
    def predict(self, batch: Labelled) -> list[Row]:
        """The predicted class, and the probability of the last class."""
        logits = self.scores(batch)
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
