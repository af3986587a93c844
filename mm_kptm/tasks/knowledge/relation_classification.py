"""Relation classification: the relation between two mentions of a sentence."""

from __future__ import annotations

from collections.abc import Sequence

from mm_kptm.systems.system import System
from mm_kptm.tasks.example import Row
from mm_kptm.tasks.labelling import OneLabel
from mm_kptm.tasks.metrics.classification import micro


class RelationClassification(OneLabel):
    """Classify the relation between two marked mentions (Zhang et al. 2017, TACRED; Han et al. 2018, FewRel).

    Args:
        system: as for :class:`~mm_kptm.tasks.labelling.Labelling`.
        labels: the relations.
        no_relation: names of the negative class; micro precision, recall and F1 leave out the first one that is
            among the labels.
        dropout, marks: as for :class:`~mm_kptm.tasks.labelling.Labelling`.
    """

    name = "relation-classification"
    HEADS = ("relation",)
    MARKED = ("marked-relation",)
    MENTIONS = 2

    def __init__(
        self,
        system: System,
        labels: Sequence[str],
        *,
        no_relation: Sequence[str] = (),
        dropout: float = 0.1,
        marks: bool = False,
    ) -> None:
        super().__init__(system, labels, dropout=dropout, marks=marks)
        self.no_relation = next((name for name in no_relation if name in self.labels), None)

    def summary(self, rows: Sequence[Row]) -> dict[str, float]:
        """Micro precision, recall and F1."""
        return micro(rows, no_relation=self.no_relation)
