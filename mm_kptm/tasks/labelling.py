"""Texts that are given labels: one of several, or any number of them.

Shapes: B texts, C labels.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mm_kptm.batch import POOLED_ONLY, Encoded, Inputs
from mm_kptm.data.packing import Packed
from mm_kptm.knowledge.injection.marker_tokens import marked_rows
from mm_kptm.knowledge.objectives.mention_classification import marked_states
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.system import System
from mm_kptm.tasks.example import Example, ExampleBatch, Row, prediction
from mm_kptm.tasks.heads import ChosenHead, Heads, requested_heads
from mm_kptm.tasks.protocol import Task
from mm_kptm.tasks.scores import finite_scores
from mm_kptm.train.protocol import Source

SEPARATOR = "|"  #: between several labels in a line of predictions


@dataclass(frozen=True, eq=False)
class Labelled(ExampleBatch):
    """Some texts with their labels."""

    inputs: Inputs
    truth: Tensor  #: 1 for every label that holds, [B, C]
    about: tuple[Example, ...]


@dataclass(frozen=True, eq=False)
class LabelledSource:
    """Texts with labels.

    Args:
        shown: the texts.
        labels: all there are to choose from, C.
        truth: column ``labels``, the places of those that hold; a sequence per text.
        about: per text.
    """

    shown: Source[Inputs]
    labels: tuple[str, ...]
    truth: Packed
    about: tuple[Example, ...]

    def __len__(self) -> int:
        return len(self.about)

    def length(self, index: int) -> int:
        """Tokens of a text."""
        return self.shown.length(index)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Labelled:
        """The given texts."""
        truth = torch.from_numpy(self.truth.to_dense(indices, "labels", width=len(self.labels)))
        return Labelled(self.shown.batch(indices, generator), truth, tuple(self.about[index] for index in indices))


class Labelling(Task[Labelled]):
    """Gives labels to texts; a subclass says how they are scored and which are given.

    Args:
        system: the first of its heads :attr:`HEADS` answers; a system with none gets dropout and a linear layer on the
            pooled state, as is usual for encoders of BERT's kind.
        labels: all there are to choose from, in the order of the head's scores.
        dropout: before a fresh head.
        marks: whether the states at the marks of the mentions are scored, by :attr:`MARKED`, and not the pooled one.

    Raises:
        UserError: the head scores another number of labels.
    """

    needs = frozenset({"text"})
    HEADS: tuple[str, ...] = ()
    MARKED: tuple[str, ...] = ()  #: heads that score the states at marks
    MENTIONS = 0  #: that are marked in a text

    def __init__(self, system: System, labels: Sequence[str], *, dropout: float = 0.1, marks: bool = False) -> None:
        super().__init__(system)
        self.labels = tuple(labels)
        self.marks = marks
        self.drop = nn.Dropout(dropout)
        names, width = (self.MARKED, self.MENTIONS * system.dim) if marks else (self.HEADS, system.dim)
        self.head = ChosenHead(system, names, lambda: nn.Linear(width, len(self.labels)))
        self.head.check_width(system, len(self.labels), what="labels", size="num_classes")

    @classmethod
    def heads(cls, recipe: Recipe, num_classes: int, *, marks: bool = False) -> Heads:
        """The heads to ask of :func:`mm_kptm.build` or :func:`mm_kptm.load` for this task."""
        return requested_heads(recipe, cls.MARKED if marks else cls.HEADS, {"num_classes": num_classes})

    def forward(self, inputs: Inputs) -> Tensor:
        """The score of every label, [B, C]."""
        if self.marks:
            states = marked_states(self.system, inputs, marked_rows(inputs, self.MENTIONS))
        else:
            encoded: Encoded = self.system(inputs, POOLED_ONLY)
            states = encoded.pooled
        return self.head.of(self.system)(self.drop(states))

    @abstractmethod
    def losses(self, logits: Tensor, truth: Tensor) -> Tensor:
        """The loss of every text from its scores and labels, both [B, C]: [B]."""

    @abstractmethod
    def given(self, logits: Tensor) -> Tensor:
        """Which labels are given, [B, C]."""

    def loss(self, batch: Labelled) -> Tensor:
        """The mean over texts."""
        return self.losses(self(batch.inputs), batch.truth).mean()

    def scores(self, batch: Labelled) -> Tensor:
        """The score of every label, [B, C]; ``UserError`` where one is not finite."""
        return finite_scores(self(batch.inputs), "labels")

    @torch.no_grad()
    def measure(self, batch: Labelled) -> dict[str, Tensor]:
        """Whether exactly the labels that hold are given, and the loss."""
        logits = self.scores(batch)
        right = (self.given(logits) == batch.truth.bool()).all(dim=1)
        return {"accuracy": right.float(), "loss": self.losses(logits, batch.truth)}

    @torch.no_grad()
    def predict(self, batch: Labelled) -> list[Row]:
        """The labels given to every text."""
        given = self.given(self.scores(batch)).tolist()
        return [self.row(about, chosen) for about, chosen in zip(batch.about, given, strict=True)]

    def row(self, about: Example, chosen: Sequence[bool]) -> Row:
        """A line of the predictions."""
        answer = SEPARATOR.join(label for label, holds in zip(self.labels, chosen, strict=True) if holds)
        return prediction(about, answer)


class OneLabel(Labelling):
    """Every text has one label: cross-entropy, the best one is given."""

    def losses(self, logits: Tensor, truth: Tensor) -> Tensor:
        """Cross-entropy; a text whose label is not known costs nothing."""
        return -(F.log_softmax(logits, dim=1) * truth).sum(dim=1)

    def given(self, logits: Tensor) -> Tensor:
        """The best."""
        return F.one_hot(logits.argmax(dim=1), logits.shape[1]).bool()
