"""Relation classification: how two mentions of a sentence are related."""

from __future__ import annotations

from collections.abc import Sequence

from mm_kptm.models.system import System
from mm_kptm.tasks.labels import OneLabel
from mm_kptm.tasks.protocol import Row


class RelationClassification(OneLabel):
    """Name the relation between two marked mentions (Zhang et al. 2017, TACRED; Han et al. 2018, FewRel).

    Args:
        system: as for :class:`~mm_kptm.tasks.labels.Labelling`.
        labels: the relations.
        no_relation: names of the one that says there is none; micro precision, recall and F1 leave out the first that
            is among the labels.
        dropout, marks: as for :class:`~mm_kptm.tasks.labels.Labelling`.
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


def micro(rows: Sequence[Row], *, no_relation: str | None) -> dict[str, float]:
    """Precision among what was given, recall among what holds, their F1; ``no_relation`` is in neither.

    The official scorer of TACRED; without such a label all three are the accuracy.

    >>> rows = [{"answer": a, "target": t} for a, t in (("x", "x"), ("x", "none"), ("none", "y"), ("none", "none"))]
    >>> micro(rows, no_relation="none")
    {'micro-precision': 0.5, 'micro-recall': 0.5, 'micro-f1': 0.5}
    """
    given = sum(row["answer"] != no_relation for row in rows)
    held = sum(row["target"] != no_relation for row in rows)
    right = sum(row["answer"] == row["target"] != no_relation for row in rows)
    return f1("micro", right / given if given else 1.0, right / held if held else 0.0)


def f1(name: str, precision: float, recall: float) -> dict[str, float]:
    """Precision and recall with their harmonic mean, which is 0 where both are."""
    both = precision + recall
    mean = 2 * precision * recall / both if both else 0.0
    return {f"{name}-precision": precision, f"{name}-recall": recall, f"{name}-f1": mean}
