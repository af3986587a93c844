"""Text classification with one label or several labels per text.

Shapes: B texts, C labels.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
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

SEPARATOR = "|"  #: between the labels of a prediction


@dataclass(frozen=True, eq=False)
class Labelled(ExampleBatch):
    """A batch of texts with their labels."""

    inputs: Inputs
    truth: Tensor  #: 1 for every gold label, [B, C]
    about: tuple[Example, ...]


@dataclass(frozen=True, eq=False)
class LabelledSource:
    """Texts with labels.

    Args:
        shown: the texts.
        labels: names of the C classes.
        truth: column ``labels``, class indices of the gold labels; a sequence per text.
        about: metadata of each text.
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
        """The texts of the given indices."""
        truth = torch.from_numpy(self.truth.to_dense(indices, "labels", width=len(self.labels)))
        return Labelled(self.shown.batch(indices, generator), truth, tuple(self.about[index] for index in indices))


class Labelling(Task[Labelled]):
    """Text classification; subclasses define the loss and the decision rule.

    Args:
        system: uses the first of its heads :attr:`HEADS`; without one, dropout and a new linear layer on the pooled
            state, as is usual for BERT-like encoders.
        labels: names of the classes, in the order of the logits.
        dropout: before a new head.
        marks: whether the states at the mention markers are classified, by a head of :attr:`MARKED`.

    Raises:
        UserError: the head has another number of classes.
    """

    needs = frozenset({"text"})
    HEADS: tuple[str, ...] = ()
    MARKED: tuple[str, ...] = ()  #: heads on the states at mention markers
    MENTIONS = 0  #: number of marked mentions per text

    def __init__(self, system: System, labels: Sequence[str], *, dropout: float = 0.1, marks: bool = False) -> None:
        super().__init__(system)
        self.labels = tuple(labels)
        self.marks = marks
        self.drop = nn.Dropout(dropout)
        names, width = (self.MARKED, self.MENTIONS * system.dim) if marks else (self.HEADS, system.pooled_dim)
        self.head = ChosenHead(system, names, lambda: nn.Linear(width, len(self.labels)))
        self.head.check_width(system, len(self.labels), what="labels", size="num_classes")
        self.head.take_labels(system, self.labels)

    @classmethod
    def heads(cls, recipe: Recipe, num_classes: int, *, marks: bool = False) -> Heads:
        """The heads to ask of :func:`mm_kptm.build` or :func:`mm_kptm.load` for this task."""
        return requested_heads(recipe, cls.MARKED if marks else cls.HEADS, {"num_classes": num_classes})

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits of the labels, [B, C]."""
        if self.marks:
            states = marked_states(self.system, inputs, marked_rows(inputs, self.MENTIONS))
        else:
            encoded: Encoded = self.system(inputs, POOLED_ONLY)
            states = encoded.pooled
        return self.head.of(self.system)(self.drop(states))

    @abstractmethod
    def losses(self, logits: Tensor, truth: Tensor) -> Tensor:
        """The loss of every text from logits and gold labels, both [B, C]: [B]."""

    @abstractmethod
    def given(self, logits: Tensor) -> Tensor:
        """Predicted labels, boolean [B, C]."""

    def loss(self, batch: Labelled) -> Tensor:
        """The mean over texts."""
        return self.losses(self(batch.inputs), batch.truth).mean()

    def scores(self, batch: Labelled) -> Tensor:
        """The score of every label, [B, C]; ``UserError`` where one is not finite."""
        return finite_scores(self(batch.inputs), "labels")

    @torch.no_grad()
    def measure(self, batch: Labelled) -> dict[str, Tensor]:
        """Exact-match accuracy of the label sets, and the loss."""
        logits = self.scores(batch)
        right = (self.given(logits) == batch.truth.bool()).all(dim=1)
        return {"accuracy": right.float(), "loss": self.losses(logits, batch.truth)}

    @torch.no_grad()
    def predict(self, batch: Labelled) -> list[Row]:
        """The predicted labels of every text."""
        given = self.given(self.scores(batch)).tolist()
        return [self.row(about, chosen) for about, chosen in zip(batch.about, given, strict=True)]

    def unseen_labels(self, rows: Sequence[Row]) -> Mapping[str, int]:
        """The gold labels that are none of the classes, by how many texts have them."""
        return not_among(self.labels, (self.gold(str(row["target"])) for row in rows))

    def gold(self, target: str) -> Sequence[str]:
        """The gold labels that a row has as one text."""
        return target.split(SEPARATOR)

    def row(self, about: Example, chosen: Sequence[bool]) -> Row:
        """One prediction row."""
        answer = SEPARATOR.join(label for label, holds in zip(self.labels, chosen, strict=True) if holds)
        return prediction(about, answer)


def not_among(known: Sequence[str], gold: Iterable[Sequence[str]]) -> dict[str, int]:
    """How many examples have each gold label that is not known, the most frequent first.

    >>> not_among(["a"], [["a", "b"], ["c"], ["b", "b"]])
    {'b': 2, 'c': 1}
    """
    counts = Counter(label for labels in gold for label in {*labels} - {*known})
    return dict(counts.most_common())


class OneLabel(Labelling):
    """Single-label classification: cross-entropy, argmax."""

    def losses(self, logits: Tensor, truth: Tensor) -> Tensor:
        """Cross-entropy; zero for texts without a gold label."""
        return -(F.log_softmax(logits, dim=1) * truth).sum(dim=1)

    def gold(self, target: str) -> Sequence[str]:
        """The one label."""
        return (target,)

    def given(self, logits: Tensor) -> Tensor:
        """The label of the highest logit."""
        return F.one_hot(logits.argmax(dim=1), logits.shape[1]).bool()
