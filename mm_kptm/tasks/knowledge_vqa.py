"""Questions whose answer is a fact about something seen, and whether a model uses the facts it is told.

Shapes: B questions.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from mm_kptm.errors import UserError
from mm_kptm.tasks.protocol import Row
from mm_kptm.tasks.vqa import VQA, About, Questions


class KnowledgeVQA(VQA):
    """Answer a question that needs an image and a fact about what it shows (Marino et al. 2019, OK-VQA).

    The facts come with the question, as branches of its words; where they are not the true ones the answer expected
    follows them, and a measure ``sticks`` says whether the model gave the answer by the true ones instead.
    """

    name = "knowledge-vqa"

    @torch.no_grad()
    def measure(self, batch: Questions) -> dict[str, Tensor]:
        """As :class:`~mm_kptm.tasks.vqa.VQA`, and ``sticks`` where other facts than the true ones were told."""
        logits = self(batch.inputs)
        best = logits.argmax(dim=1)
        measured = {
            "accuracy": batch.scores.gather(1, best[:, None]).squeeze(1),
            "loss": self.criterion(logits, batch.scores),
        }
        if all(about.untold is not None for about in batch.about):
            pairs = zip(batch.about, best.tolist(), strict=True)
            stuck = [float(self.answers[place] == about.untold) for about, place in pairs]
            measured["sticks"] = torch.tensor(stuck, device=logits.device)
        return measured

    def row(self, about: About, answer: str) -> Row:
        """With ``sticks``, 1 where the answer is the one by the true facts, if others were told."""
        row = super().row(about, answer)
        return row if about.untold is None else {**row, "sticks": float(answer == about.untold)}


class KnowledgeUse(NamedTuple):
    """What a model does when it is told other facts than it was trained on."""

    follows: float  #: share of answers by the facts told
    sticks: float  #: share of answers by the true facts

    @property
    def score(self) -> float:
        """The knowledge-use score: from 1, only the facts told count, to -1, they are ignored."""
        return self.follows - self.sticks


def knowledge_use(rows: Iterable[Row]) -> KnowledgeUse:
    """The knowledge-use score of predictions on questions with swapped facts.

    Raises:
        UserError: there is none, or the facts of one were not swapped.
    """
    follows, sticks = [], []
    for row in rows:
        if "sticks" not in row:
            raise UserError(f"knowledge use was asked for, but the facts of question {row['id']} are not swapped ones")
        follows.append(float(row["correct"]))
        sticks.append(float(row["sticks"]))
    if not follows:
        raise UserError("knowledge use was asked for over no predictions; it needs one at least")
    return KnowledgeUse(sum(follows) / len(follows), sum(sticks) / len(sticks))
