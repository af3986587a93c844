"""Entity typing: of which types is what a sentence mentions.

Shapes: B mentions, C types.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from mm_kptm.models.system import System
from mm_kptm.tasks.labels import SEPARATOR, Labelling
from mm_kptm.tasks.protocol import Row
from mm_kptm.tasks.relation import f1


class EntityTyping(Labelling):
    """Name all types of a marked mention (Ling and Weld 2012, FIGER; Choi et al. 2018, Open Entity).

    Args:
        system: as for :class:`~mm_kptm.tasks.labels.Labelling`.
        labels: the types.
        best_too: give the best type as well where none scores above zero, as the evaluation of FIGER does.
        dropout, marks: as for :class:`~mm_kptm.tasks.labels.Labelling`.
    """

    name = "entity-typing"
    HEADS = ("entity-typing",)
    MARKED = ("marked-typing",)
    MENTIONS = 1

    def __init__(
        self,
        system: System,
        labels: Sequence[str],
        *,
        best_too: bool = False,
        dropout: float = 0.1,
        marks: bool = False,
    ) -> None:
        super().__init__(system, labels, dropout=dropout, marks=marks)
        self.threshold = _none_or_best if best_too else _above_zero

    def losses(self, logits: Tensor, truth: Tensor) -> Tensor:
        """Binary cross-entropy, averaged over types (Zhang et al. 2019, section 4.3)."""
        return F.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean(dim=1)

    def given(self, logits: Tensor) -> Tensor:
        """Every type that scores above zero."""
        return self.threshold(logits)

    def summary(self, rows: Sequence[Row]) -> dict[str, float]:
        """Strict accuracy, loose macro and loose micro precision, recall and F1."""
        return loose(rows)


def loose(rows: Sequence[Row]) -> dict[str, float]:
    """The three official measures (Ling and Weld 2012, section 5.1): all types right; per mention; over all types.

    A mention that was given no type counts as precision 0, as in the released evaluation of ERNIE.

    >>> rows = [{"answer": "a|b", "target": "a"}, {"answer": "c", "target": "c|d|e"}]
    >>> [round(value, 3) for value in loose(rows).values()]
    [0.0, 0.75, 0.667, 0.706, 0.667, 0.5, 0.571]
    """
    pairs = [(_types(row["answer"]), _types(row["target"])) for row in rows]
    shared = [len(given & held) for given, held in pairs]
    precisions = [hit / len(given) if given else 0.0 for hit, (given, _) in zip(shared, pairs, strict=True)]
    recalls = [hit / len(held) if held else 0.0 for hit, (_, held) in zip(shared, pairs, strict=True)]
    given, held = (sum(len(pair[side]) for pair in pairs) for side in (0, 1))
    return {
        "strict-accuracy": sum(given == held for given, held in pairs) / len(pairs),
        **f1("macro", sum(precisions) / len(pairs), sum(recalls) / len(pairs)),
        **f1("micro", sum(shared) / given if given else 0.0, sum(shared) / held if held else 0.0),
    }


def _types(written: str | float) -> frozenset[str]:
    return frozenset(str(written).split(SEPARATOR)) - {""}


def _above_zero(logits: Tensor) -> Tensor:
    return logits > 0


def _none_or_best(logits: Tensor) -> Tensor:
    return (logits > 0) | (logits == logits.amax(dim=1, keepdim=True))  # of equally good ones all, as released
