"""Knowledge-based visual question answering.

Shapes: B questions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mm_kptm.tasks.example import Example, Row
from mm_kptm.tasks.knowledge_use import with_memorised
from mm_kptm.tasks.vision.vqa import VQA, Questions


class KnowledgeVQA(VQA):
    """Visual question answering with facts about the depicted objects (Marino et al. 2019, OK-VQA).

    Facts are injected into the question, as branches of its words. With counterfactual facts the gold answer follows
    them, and the measure ``memorised`` is 1 where the model answers by the true facts instead.
    """

    name = "knowledge-vqa"

    @torch.no_grad()
    def measure(self, batch: Questions) -> dict[str, Tensor]:
        """As :class:`~mm_kptm.tasks.vision.vqa.VQA`, and ``memorised`` with counterfactual facts."""
        logits = self.logits(batch)
        best = logits.argmax(dim=1)
        measured = {
            "accuracy": batch.scores.gather(1, best[:, None]).squeeze(1),
            "loss": self.criterion(logits, batch.scores),
        }
        if all(about.factual_answer is not None for about in batch.about):
            pairs = zip(batch.about, best.tolist(), strict=True)
            memorised = [float(self.answers[place] == about.factual_answer) for about, place in pairs]
            measured["memorised"] = torch.tensor(memorised, device=logits.device)
        return measured

    def row(self, about: Example, answer: str) -> Row:
        """With counterfactual facts, adds ``memorised``: 1 where the answer is the one by the true facts."""
        return with_memorised(super().row(about, answer), about, answer)
