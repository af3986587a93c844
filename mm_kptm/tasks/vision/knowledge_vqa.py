"""Questions whose answer is a fact about something seen.

Shapes: B questions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mm_kptm.tasks.example import Example, Row
from mm_kptm.tasks.knowledge_use import with_memorised
from mm_kptm.tasks.vision.vqa import VQA, Questions


class KnowledgeVQA(VQA):
    """Answer a question that needs an image and a fact about what it shows (Marino et al. 2019, OK-VQA).

    The facts come with the question, as branches of its words; where they are not the true ones the answer expected
    follows them, and a measure ``memorised`` says whether the model gave the answer by the true ones instead.
    """

    name = "knowledge-vqa"

    @torch.no_grad()
    def measure(self, batch: Questions) -> dict[str, Tensor]:
        """As :class:`~mm_kptm.tasks.vision.vqa.VQA`, and ``memorised`` where the facts are not the true ones."""
        logits = self.logits(batch)
        best = logits.argmax(dim=1)
        measured = {
            "accuracy": batch.scores.gather(1, best[:, None]).squeeze(1),
            "loss": self.criterion(logits, batch.scores),
        }
        if all(about.factual_answer is not None for about in batch.about):
            pairs = zip(batch.about, best.tolist(), strict=True)
            stuck = [float(self.answers[place] == about.factual_answer) for about, place in pairs]
            measured["memorised"] = torch.tensor(stuck, device=logits.device)
        return measured

    def row(self, about: Example, answer: str) -> Row:
        """With ``memorised``, 1 where the answer is the one by the true facts, if others were told."""
        return with_memorised(super().row(about, answer), about, answer)
