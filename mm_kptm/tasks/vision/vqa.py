"""Visual question answering as classification over an answer vocabulary.

Shapes: B questions, A answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mm_kptm.batch import POOLED_ONLY, Encoded, Inputs
from mm_kptm.data.packing import Packed
from mm_kptm.errors import UserError
from mm_kptm.nn.heads import Classifier
from mm_kptm.nn.init import bert_init
from mm_kptm.preprocessing.inputs import InputSource
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.system import System
from mm_kptm.tasks.example import Example, ExampleBatch, Row, prediction
from mm_kptm.tasks.metrics.vqa import vqa_accuracy
from mm_kptm.tasks.protocol import Task
from mm_kptm.tasks.scores import finite_scores

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


class VQA(Task[Questions]):
    """Visual question answering (Antol et al. 2015; Goyal et al. 2017).

    Args:
        system: uses its head ``vqa``, which must have as many answers (:meth:`heads`); without one, a new classifier on
            the pooled state.
        answers: the answer vocabulary.
        criterion: :func:`each_answer` for VQA v2, :func:`one_answer` for Number World.

    Raises:
        UserError: the head has another number of answers.
    """

    name = "vqa"
    needs = frozenset({"text", "regions"})
    HEAD = "vqa"

    def __init__(self, system: System, answers: Sequence[str], *, criterion: Criterion = each_answer) -> None:
        super().__init__(system)
        self.answers = tuple(answers)
        self.criterion = criterion
        self.fresh: nn.Module | None = None
        if self.HEAD not in system.heads:
            self.fresh = Classifier(system.dim, len(self.answers))
            bert_init(self.fresh)
        else:
            scored = [part.out_features for part in system.head(self.HEAD).modules() if isinstance(part, nn.Linear)]
            if scored[-1] != len(self.answers):
                raise UserError(
                    f"the head {self.HEAD} of {system.recipe} scores {scored[-1]} answers, but there are "
                    f"{len(self.answers)} to choose from; build it with num_answers={len(self.answers)}"
                )

    @classmethod
    def heads(cls, recipe: Recipe, num_answers: int) -> dict[str, dict[str, int]]:
        """The heads to ask of :func:`mm_kptm.build` or :func:`mm_kptm.load` for this task."""
        return {cls.HEAD: {"num_answers": num_answers}} if cls.HEAD in recipe.heads else {}

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits of the answers, [B, A]."""
        encoded: Encoded = self.system(inputs, POOLED_ONLY)
        return self._scores(encoded.pooled)

    def _scores(self, pooled: Tensor) -> Tensor:
        """Logits of the answers from the pooled states, [B, D] -> [B, A]."""
        head = self.system.head(self.HEAD) if self.fresh is None else self.fresh
        scores: Tensor = head(pooled)
        return scores

    def pooled(self, batch: Questions) -> Tensor:
        """The pooled states of the questions, [B, D]."""
        encoded: Encoded = self.system(batch.inputs, POOLED_ONLY)
        return encoded.pooled

    def pooled_loss(self, batch: Questions, pooled: Tensor) -> Tensor:
        """As :meth:`loss`, from the pooled states [B, D]."""
        return self.criterion(self._scores(pooled), batch.scores).mean()

    def loss(self, batch: Questions) -> Tensor:
        """The mean criterion over questions."""
        return self.pooled_loss(batch, self.pooled(batch))

    def logits(self, batch: Questions) -> Tensor:
        """The score of every answer, [B, A]; ``UserError`` where one is not finite."""
        return finite_scores(self(batch.inputs), "answers")

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
