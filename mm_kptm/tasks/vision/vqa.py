"""Visual question answering as classification over an answer vocabulary.

Shapes: B questions, A answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mm_kptm.batch import EVERY_ROW, POOLED_ONLY, Encoded, Inputs, OutputRows, Tokens
from mm_kptm.data.packing import Packed
from mm_kptm.errors import UserError
from mm_kptm.nn.heads import Classifier
from mm_kptm.preprocessing.inputs import InputSource
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.system import System
from mm_kptm.tasks.example import Example, ExampleBatch, Row, prediction
from mm_kptm.tasks.heads import ChosenHead, Heads, requested_heads
from mm_kptm.tasks.metrics.vqa import vqa_accuracy
from mm_kptm.tasks.protocol import Task
from mm_kptm.tasks.published_losses import published_loss
from mm_kptm.tasks.scores import Alternatives, finite_scores
from mm_kptm.vision.modules.single_stream.mask_readout import answer_mask_rows
from mm_kptm.vision.objectives.soft_targets import answer_kl

Criterion = Callable[[Tensor, Tensor], Tensor]  #: logits and target scores, both [B, A] -> loss of each question, [B]


@dataclass(frozen=True, eq=False)
class Questions(ExampleBatch):
    """A batch of questions with the target score of every answer."""

    inputs: Inputs
    scores: Tensor  #: between 0 and 1, [B, A]
    about: tuple[Example, ...]


@dataclass(frozen=True, eq=False)
class QuestionSource:
    """Questions with images.

    Args:
        shown: the texts of the questions and their images.
        answers: the answer vocabulary.
        worth: columns ``answers`` (indices) and ``tenths`` (target scores in tenths), a sequence per question.
        about: metadata of each question.
    """

    shown: InputSource
    answers: tuple[str, ...]
    worth: Packed
    about: tuple[Example, ...]

    def __len__(self) -> int:
        return len(self.about)

    def length(self, index: int) -> int:
        """Tokens and regions of a question."""
        return self.shown.length(index)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Questions:
        """The questions of the given indices."""
        scores = torch.from_numpy(self.worth.to_dense(indices, "answers", "tenths", width=len(self.answers))) / 10
        return Questions(self.shown.batch(indices, generator), scores, tuple(self.about[index] for index in indices))


def each_answer(logits: Tensor, scores: Tensor) -> Tensor:
    """Binary cross-entropy summed over answers (Teney et al. 2018, eq. 5), for soft scores."""
    return F.binary_cross_entropy_with_logits(logits, scores, reduction="none").sum(dim=1)


def one_answer(logits: Tensor, scores: Tensor) -> Tensor:
    """Softmax cross-entropy against the target scores normalised to sum to one.

    Trains faster than :func:`each_answer` where every question has one correct answer. A question without a correct
    answer in the vocabulary has loss 0.
    """
    return F.cross_entropy(logits, scores / scores.sum(dim=1, keepdim=True).clamp(min=1e-6), reduction="none")


def _at_mask(system: System, head: nn.Module, inputs: Inputs) -> Tensor:
    """From the state of the [MASK] before the last [SEP] of every question (Su et al. 2020, section 4.2)."""
    text = inputs.required("text", Tokens)
    rows = answer_mask_rows(text.layout, text.ids.device)
    scores: Tensor = head(system(inputs, OutputRows({"text": rows}, pooled=False)).text)
    return scores


def _fused(system: System, head: nn.Module, inputs: Inputs) -> Tensor:
    """From the product of the states of [CLS] and of the [SEP] behind the image (Zhou et al. 2020, section 3.2)."""
    text = inputs.required("text", Tokens)
    encoded: Encoded = system(inputs, OutputRows({"text": EVERY_ROW}, pooled=False))
    scores: Tensor = head(encoded.text, text.layout)
    return scores


#: Losses by the names that recipes have for them.
LOSSES: dict[str, Criterion] = {"each-answer": each_answer, "one-answer": one_answer, "distribution": answer_kl}

#: Heads that read answers elsewhere than from the pooled state.
READERS: dict[str, Callable[[System, nn.Module, Inputs], Tensor]] = {
    "vqa-at-mask": _at_mask,
    "fused-answers": _fused,
}


class VQA(Task[Questions]):
    """Visual question answering (Antol et al. 2015; Goyal et al. 2017).

    Answers are read off the pooled state by the head ``vqa``, off the [MASK] of the question by ``vqa-at-mask``
    (VL-BERT, VisualBERT), or off the states of [CLS] and of the [SEP] behind the image by ``fused-answers`` (VLP).

    Args:
        system: uses the first of its heads :attr:`HEADS`, which must have as many answers (:meth:`heads`); without
            one, a new classifier on the pooled state.
        answers: the answer vocabulary.
        criterion: :func:`one_answer` where every question has one answer, as on Number World. None, for soft scores:
            what the recipe says, :func:`each_answer` unless it does.

    Raises:
        UserError: the head has another number of answers.
    """

    name = "vqa"
    needs = frozenset({"text", "regions"})
    HEADS: ClassVar[tuple[str, ...]] = ("vqa", *READERS)

    def __init__(self, system: System, answers: Sequence[str], *, criterion: Criterion | None = None) -> None:
        super().__init__(system)
        self.answers = tuple(answers)
        published = published_loss(system, VQA.name, LOSSES, usual="each-answer")
        self.criterion = published if criterion is None else criterion
        self.head = ChosenHead(system, self.HEADS, lambda: Classifier(system.dim, len(self.answers)))
        self.head.check_width(system, len(self.answers), what="answers", size="num_answers")

    @classmethod
    def heads(cls, recipe: Recipe, num_answers: int) -> Heads:
        """The heads to ask of :func:`mm_kptm.build` or :func:`mm_kptm.load` for this task."""
        return requested_heads(recipe, cls.HEADS, {"num_answers": num_answers})

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits of the answers, [B, A]."""
        if (read := READERS.get(self.head.name or "")) is not None:
            return read(self.system, self.head.of(self.system), inputs)
        encoded: Encoded = self.system(inputs, POOLED_ONLY)
        return self._scores(encoded.pooled)

    def _scores(self, pooled: Tensor) -> Tensor:
        """Logits of the answers from the pooled states, [B, D] -> [B, A]."""
        scores: Tensor = self.head.of(self.system)(pooled)
        return scores

    def encoded(self, batch: Questions, rows: OutputRows) -> Encoded:
        """The pooled states of the questions, [B, D], and other states that are asked for."""
        encoded: Encoded = self.system(batch.inputs, rows)
        return encoded

    def pooled_loss(self, batch: Questions, pooled: Tensor) -> Tensor:
        """As :meth:`loss`, from the pooled states [B, D].

        Raises:
            UserError: the head reads answers elsewhere.
        """
        if self.head.name in READERS:
            raise UserError(
                f"the head {self.head.name} of {self.system.recipe} reads answers elsewhere than from the pooled "
                "state, so nothing can share that state with it"
            )
        return self.criterion(self._scores(pooled), batch.scores).mean()

    def loss(self, batch: Questions) -> Tensor:
        """The mean criterion over questions."""
        return self.criterion(self(batch.inputs), batch.scores).mean()

    def logits(self, batch: Questions) -> Tensor:
        """The score of every answer, [B, A]; ``UserError`` where one is not finite."""
        return finite_scores(self(batch.inputs), "answers")

    def alternatives(self, batch: Questions) -> Alternatives:
        """The answers to a question."""
        return Alternatives(batch.inputs, lambda inputs: self(inputs)[0])

    @torch.no_grad()
    def measure(self, batch: Questions) -> dict[str, Tensor]:
        """The target score of the predicted answer, and the loss."""
        logits = self.logits(batch)
        best = logits.argmax(dim=1, keepdim=True)
        return {"accuracy": batch.scores.gather(1, best).squeeze(1), "loss": self.criterion(logits, batch.scores)}

    @torch.no_grad()
    def predict(self, batch: Questions) -> list[Row]:
        """The predicted answer; ``correct`` is the official accuracy where annotators' answers are given."""
        best = self.logits(batch).argmax(dim=1).tolist()
        return [self.row(about, self.answers[place]) for about, place in zip(batch.about, best, strict=True)]

    def row(self, about: Example, answer: str) -> Row:
        """A line of the predictions."""
        return prediction(
            about, answer, correct=vqa_accuracy(answer, about.given_answers) if about.given_answers else None
        )
