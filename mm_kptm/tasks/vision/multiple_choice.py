"""Questions about an image with a few answers to choose from.

Shapes: B questions, N choices of all of them, M most choices of a question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mm_kptm.batch import POOLED_ONLY, Encoded, Inputs, SequenceLayout, Tokens, pad
from mm_kptm.preprocessing.inputs import InputSource, IntArray, select_texts
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.system import System
from mm_kptm.tasks.example import Example, ExampleBatch, Row, prediction
from mm_kptm.tasks.heads import ChosenHead, Heads, pooled_dim, requested_heads
from mm_kptm.tasks.protocol import Task
from mm_kptm.tasks.scores import Alternatives, finite_scores
from mm_kptm.tasks.vision.segments import grow_segments

UNKNOWN = -1  #: place of the right choice where the data do not say it


@dataclass(frozen=True, eq=False)
class ChoiceBatch(ExampleBatch):
    """Questions, each read once with every choice."""

    inputs: Inputs  #: of N texts, the choices of a question in their order
    layout: SequenceLayout  #: number of choices of every question
    truth: Tensor  #: place of the right choice, :data:`UNKNOWN`, [B]
    about: tuple[Example, ...]


@dataclass(frozen=True, eq=False)
class ChoiceSource:
    """Questions with choices.

    Args:
        shown: the texts of question and choice with the image, N of them.
        offsets: first choice of every question, and the number of all, [S + 1].
        truth: place of the right choice of every question, [S].
        about: metadata of each question.
    """

    shown: InputSource
    offsets: IntArray
    truth: IntArray
    about: tuple[Example, ...]

    def __len__(self) -> int:
        return len(self.about)

    def length(self, index: int) -> int:
        """Tokens and regions of a question with all its choices."""
        return sum(self.shown.length(at) for at in range(self.offsets[index], self.offsets[index + 1]))

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> ChoiceBatch:
        """The questions of the given indices."""
        places = [np.arange(self.offsets[index], self.offsets[index + 1]) for index in indices]
        return ChoiceBatch(
            self.shown.batch(np.concatenate(places).tolist(), generator),
            SequenceLayout(tuple(map(len, places))),
            torch.from_numpy(self.truth[np.asarray(indices, dtype=np.int64)]),
            tuple(self.about[index] for index in indices),
        )


class MultipleChoice(Task[ChoiceBatch]):
    """Choice of one of several answers (Zhu et al. 2016, Visual7W).

    A head with one logit is trained by cross-entropy over the choices of a question (ViLBERT, VisualBERT), or by binary
    cross-entropy of each (VL-BERT); one with two logits, wrong and right, by cross-entropy of each (UNITER).

    Args:
        system: uses the first of its heads :attr:`HEADS`; without one, a new linear layer on the pooled state.
        each_choice: whether a head with one logit judges every choice by itself.
        segments: of the parts of a text, where they are not 0 and 1; the table is extended by copies of row 0 to have
            them, as in the released code of UNITER.
    """

    name = "multiple-choice"
    needs = frozenset({"text", "regions"})
    HEADS: tuple[str, ...] = ("vcr", "retrieval")

    def __init__(self, system: System, *, each_choice: bool = False, segments: Sequence[int] = ()) -> None:
        super().__init__(system)
        width = pooled_dim(system)
        self.head = ChosenHead(system, self.HEADS, lambda: nn.Linear(width, 1))
        self.each_choice = each_choice
        if segments:
            grow_segments(system, max(segments) + 1, copy=0)

    @classmethod
    def heads(cls, recipe: Recipe) -> Heads:
        """The heads to ask of :func:`mm_kptm.build` or :func:`mm_kptm.load` for this task."""
        return requested_heads(recipe, cls.HEADS)

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits of each choice, [N, 1] or, of wrong and right, [N, 2]."""
        encoded: Encoded = self.system(inputs, POOLED_ONLY)
        logits: Tensor = self.head.of(self.system)(encoded.pooled)
        return logits

    def loss(self, batch: ChoiceBatch) -> Tensor:
        """The mean over questions; one without a right choice costs nothing."""
        return self._losses(self(batch.inputs), batch).mean()

    def scores(self, batch: ChoiceBatch) -> Tensor:
        """Score of every choice, minus infinity behind the last one, [B, M]; ``UserError`` where one is not finite."""
        return self._padded(finite_scores(self(batch.inputs), "choices"), batch)

    @torch.no_grad()
    def alternatives(self, batch: ChoiceBatch) -> Alternatives:
        """The choice with the highest score, read with its question: the other choices are texts of their own."""
        best = self.scores(batch).argmax(1)
        inputs = batch.inputs
        image_of = torch.arange(len(inputs), device=best.device) if inputs.image_of is None else inputs.image_of
        text = select_texts(inputs.required("text", Tokens), best)
        one = Inputs(inputs.streams, image_of=image_of[best], text=text)
        return Alternatives(one, lambda chosen: self(chosen)[0, -1:])

    @torch.no_grad()
    def measure(self, batch: ChoiceBatch) -> dict[str, Tensor]:
        """Whether the best choice is right, and the loss."""
        logits = finite_scores(self(batch.inputs), "choices")
        best = self._padded(logits, batch).argmax(1)
        return {"accuracy": (best == batch.truth).float(), "loss": self._losses(logits, batch)}

    @torch.no_grad()
    def predict(self, batch: ChoiceBatch) -> list[Row]:
        """The place of the best choice, and the probability of each."""
        scores = self.scores(batch)
        chances = scores.softmax(1).tolist()
        rows = zip(batch.about, scores.argmax(1).tolist(), batch.layout.lengths, chances, strict=True)
        return [
            prediction(about, str(best), **{f"p{place}": chance for place, chance in enumerate(own[:count])})
            for about, best, count, own in rows
        ]

    def _padded(self, logits: Tensor, batch: ChoiceBatch) -> Tensor:
        return pad(logits[:, -1], batch.layout, value=float("-inf"))

    def _losses(self, logits: Tensor, batch: ChoiceBatch) -> Tensor:
        known = batch.truth != UNKNOWN
        if logits.shape[1] == 1 and not self.each_choice:
            return F.cross_entropy(self._padded(logits, batch), batch.truth, ignore_index=UNKNOWN, reduction="none")
        device = logits.device
        places, questions = batch.layout.offsets_in_sequence(device), batch.layout.sequence_ids(device)
        right = places == batch.truth[questions]
        if logits.shape[1] == 1:
            each = F.binary_cross_entropy_with_logits(logits[:, 0], right.to(logits.dtype), reduction="none")
        else:
            each = F.cross_entropy(logits, right.long(), reduction="none")
        sums = each.new_zeros(len(batch)).index_add(0, questions, each)
        return sums / torch.tensor(batch.layout.lengths, device=device) * known
