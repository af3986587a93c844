"""Classification of sentences and of pairs of sentences: sentiment, paraphrase, which passage answers a question.

Shapes: B texts, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mm_kptm.tasks.example import Row
from mm_kptm.tasks.labelling import Labelled, OneLabel
from mm_kptm.tasks.metrics.classification import micro
from mm_kptm.tasks.metrics.ranking import reciprocal_rank

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
