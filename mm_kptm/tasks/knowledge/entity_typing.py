"""Entity typing: the types of a mention in its sentence.

Shapes: B mentions, C types.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from mm_kptm.systems.system import System
from mm_kptm.tasks.example import Row
from mm_kptm.tasks.labelling import Labelling
from mm_kptm.tasks.metrics.classification import loose


class EntityTyping(Labelling):
    """Predict all types of a marked mention (Ling and Weld 2012, FIGER; Choi et al. 2018, Open Entity).

    Args:
        system: as for :class:`~mm_kptm.tasks.labelling.Labelling`.
        labels: the types.
        best_too: predict the best type even if no score is above zero, as in FIGER's evaluation.
        dropout, marks: as for :class:`~mm_kptm.tasks.labelling.Labelling`.
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
        """Types with a score above zero."""
        return self.threshold(logits)

    def summary(self, rows: Sequence[Row]) -> dict[str, float]:
        """Strict accuracy, loose macro and loose micro precision, recall and F1."""
        return loose(rows)


def _above_zero(logits: Tensor) -> Tensor:
    return logits > 0


def _none_or_best(logits: Tensor) -> Tensor:
    return (logits > 0) | (logits == logits.amax(dim=1, keepdim=True))  # all of equally good ones, as released
