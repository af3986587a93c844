"""Referring expressions: grounding of expressions in image regions.

Shapes: B expressions, R regions, those of its image for every expression.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mm_kptm.batch import EVERY_ROW, Encoded, Inputs, OutputRows, SequenceLayout, pad
from mm_kptm.data.packing import Packed
from mm_kptm.preprocessing.inputs import InputSource
from mm_kptm.systems.system import System
from mm_kptm.tasks.example import Example, ExampleBatch, Row, prediction
from mm_kptm.tasks.heads import ChosenHead
from mm_kptm.tasks.protocol import Task
from mm_kptm.tasks.published_losses import published_loss
from mm_kptm.tasks.scores import Alternatives, finite_scores
from mm_kptm.vision.objectives.vilbert import region_losses

CORNERS = ("x1", "y1", "x2", "y2")  #: of a box in predictions
NOWHERE = -1  #: target of an expression without a matching region


@dataclass(frozen=True, eq=False)
class Expressions(ExampleBatch):
    """A batch of expressions with their target regions."""

    inputs: Inputs
    targets: Tensor  #: index of the best region in its image; -1 without a match, [B]
    right: Tensor  #: true for every region that counts as correct, [R]
    about: tuple[Example, ...]
    overlaps: Tensor  #: intersection over union of every region with what is meant, [R]


@dataclass(frozen=True, eq=False)
class ExpressionSource:
    """Referring expressions with images.

    Args:
        shown: the texts of the expressions and their images.
        right: column ``right``, 1 for every region of the image that counts as correct; a sequence per expression. A
            column ``overlaps`` says how much of what is meant a region shows; without it, right regions show all.
        targets: the best region of every expression, -1 without a match.
        about: metadata of each expression.
    """

    shown: InputSource
    right: Packed
    targets: tuple[int, ...]
    about: tuple[Example, ...]

    def __len__(self) -> int:
        return len(self.about)

    def length(self, index: int) -> int:
        """Tokens and regions of an expression."""
        return self.shown.length(index)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Expressions:
        """The expressions of the given indices."""
        columns, _ = self.right.take(indices)
        overlaps = columns.get("overlaps", columns["right"]).astype(np.float32)
        return Expressions(
            self.shown.batch(indices, generator),
            torch.tensor([self.targets[index] for index in indices], dtype=torch.long),
            torch.from_numpy(columns["right"]).bool(),
            tuple(self.about[index] for index in indices),
            torch.from_numpy(overlaps),
        )


def the_region(scores: Tensor, layout: SequenceLayout, batch: Expressions) -> Tensor:
    """Cross-entropy over the regions of the image, 0 without a matching one, [B] (Chen et al. 2020, UNITER).

    Training takes the mean; the released code of UNITER sums over the batch.
    """
    padded = pad(scores, layout, value=float("-inf"))
    return F.cross_entropy(padded, batch.targets, ignore_index=NOWHERE, reduction="none")


def its_overlap(scores: Tensor, layout: SequenceLayout, batch: Expressions) -> Tensor:
    """Binary cross-entropy of every region with its overlap, 0 below a half, summed over an image, [B] (ViLBERT)."""
    return region_losses(scores, layout, batch.overlaps.where(batch.overlaps >= 0.5, 0.0))


def each_region(scores: Tensor, layout: SequenceLayout, batch: Expressions) -> Tensor:
    """Binary cross-entropy of every region, right or wrong, [B]; their mean is that over all regions (VL-BERT)."""
    return region_losses(scores, layout, batch.right.to(scores.dtype)) * (len(layout) / max(layout.total, 1))


#: Losses by the names that recipes have for them.
LOSSES: dict[str, Callable[[Tensor, SequenceLayout, Expressions], Tensor]] = {
    "the-region": the_region,
    "overlap": its_overlap,
    "each-region": each_region,
}


class Grounding(Task[Expressions]):
    """Selection of the region that an expression refers to (Kazemzadeh et al. 2014; Yu et al. 2016, RefCOCO+).

    Args:
        system: uses its head ``grounding``, one logit per region; without one, a new linear layer. Its recipe says the
            published loss, :func:`the_region` unless it does.
    """

    name = "grounding"
    needs = frozenset({"text", "regions"})
    HEADS = ("grounding",)

    def __init__(self, system: System) -> None:
        super().__init__(system)
        self.head = ChosenHead(system, self.HEADS, lambda: nn.Linear(system.dim, 1))
        self.criterion = published_loss(system, self.name, LOSSES, usual="the-region")

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits of the regions, [R]."""
        encoded: Encoded = self.system(inputs, OutputRows({"regions": EVERY_ROW}, pooled=False))
        scores: Tensor = self.head.of(self.system)(encoded.regions)
        return scores[:, 0]

    def loss(self, batch: Expressions) -> Tensor:
        """The mean of the published loss over expressions."""
        return self._losses(self(batch.inputs), batch).mean()

    def scores(self, batch: Expressions) -> Tensor:
        """The score of every region, [R]; ``UserError`` where one is not finite."""
        return finite_scores(self(batch.inputs), "regions")

    def alternatives(self, batch: Expressions) -> Alternatives:
        """The regions that an expression may mean."""
        return Alternatives(batch.inputs, self)

    @torch.no_grad()
    def measure(self, batch: Expressions) -> dict[str, Tensor]:
        """Accuracy of the predicted region, and the loss."""
        scores = self.scores(batch)
        chosen = _best(scores, batch.inputs.repeat_shared()[0])
        return {"accuracy": batch.right[chosen].float(), "loss": self._losses(scores, batch)}

    @torch.no_grad()
    def predict(self, batch: Expressions) -> list[Row]:
        """The predicted region of every expression, by its index in the image, and its box as fractions."""
        layout = batch.inputs.repeat_shared()[0]
        chosen = _best(self.scores(batch), layout)
        places = (chosen - layout.starts(chosen.device)).tolist()
        right, boxes = batch.right[chosen].float().tolist(), corners_of(batch.inputs, chosen)
        found = zip(batch.about, places, right, boxes, strict=True)
        return [prediction(about, str(place), correct=correct, **box) for about, place, correct, box in found]

    def _losses(self, scores: Tensor, batch: Expressions) -> Tensor:
        return self.criterion(scores, batch.inputs.repeat_shared()[0], batch)


def corners_of(inputs: Inputs, rows: Tensor) -> list[dict[str, float]]:
    """The boxes of chosen rows of the regions, expanded per text, as columns of predictions."""
    _, expanded = inputs.repeat_shared()
    assert inputs.regions is not None  # inputs without regions were refused
    boxes = inputs.regions.boxes[expanded][rows].tolist()
    return [dict(zip(CORNERS, box, strict=True)) for box in boxes]


def _best(scores: Tensor, layout: SequenceLayout) -> Tensor:
    """The row of the highest-scored region of every example, [B]."""
    return pad(scores, layout, value=float("-inf")).argmax(dim=1) + layout.starts(scores.device)
