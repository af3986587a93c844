"""Precision, recall and F1 of labels: micro-averaged, and the strict and loose measures of entity typing."""

from __future__ import annotations

from collections.abc import Sequence

from mm_kptm.tasks.example import Row
from mm_kptm.tasks.labelling import SEPARATOR


def micro(rows: Sequence[Row], *, no_relation: str | None) -> dict[str, float]:
    """Micro precision, recall and F1 over predicted and gold labels other than ``no_relation``.

    The official scorer of TACRED; without such a label all three are the accuracy.

    >>> rows = [{"answer": a, "target": t} for a, t in (("x", "x"), ("x", "none"), ("none", "y"), ("none", "none"))]
    >>> micro(rows, no_relation="none")
    {'micro-precision': 0.5, 'micro-recall': 0.5, 'micro-f1': 0.5}
    """
    predicted = sum(row["answer"] != no_relation for row in rows)
    gold = sum(row["target"] != no_relation for row in rows)
    right = sum(row["answer"] == row["target"] != no_relation for row in rows)
    return f1("micro", right / predicted if predicted else 1.0, right / gold if gold else 0.0)


def f1(name: str, precision: float, recall: float) -> dict[str, float]:
    """Precision, recall and their harmonic mean, 0 where both are 0."""
    both = precision + recall
    mean = 2 * precision * recall / both if both else 0.0
    return {f"{name}-precision": precision, f"{name}-recall": recall, f"{name}-f1": mean}


def loose(rows: Sequence[Row]) -> dict[str, float]:
    """Strict accuracy, loose macro and loose micro F1 of entity typing (Ling and Weld 2012, section 5.1).

    A mention without a predicted type has precision 0, as in the released evaluation of ERNIE.

    >>> rows = [{"answer": "a|b", "target": "a"}, {"answer": "c", "target": "c|d|e"}]
    >>> [round(value, 3) for value in loose(rows).values()]
    [0.0, 0.75, 0.667, 0.706, 0.667, 0.5, 0.571]
    """
    pairs = [(_types(row["answer"]), _types(row["target"])) for row in rows]
    shared = [len(predicted & gold) for predicted, gold in pairs]
    precisions = [hit / len(predicted) if predicted else 0.0 for hit, (predicted, _) in zip(shared, pairs, strict=True)]
    recalls = [hit / len(gold) if gold else 0.0 for hit, (_, gold) in zip(shared, pairs, strict=True)]
    predicted, gold = (sum(len(pair[side]) for pair in pairs) for side in (0, 1))
    return {
        "strict-accuracy": sum(predicted == gold for predicted, gold in pairs) / len(pairs),
        **f1("macro", sum(precisions) / len(pairs), sum(recalls) / len(pairs)),
        **f1("micro", sum(shared) / predicted if predicted else 0.0, sum(shared) / gold if gold else 0.0),
    }


def _types(written: str | float) -> frozenset[str]:
    return frozenset(str(written).split(SEPARATOR)) - {""}
