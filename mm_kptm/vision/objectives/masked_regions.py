"""Region objectives of UNITER: masked regions, word-region alignment, and ranking and grounding losses.

Shapes: P masked regions, F width of region features, C classes of the detector, B examples, R region rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.batch import Encoded, Inputs, Movable, OutputRows, Regions, SequenceLayout, pad
from mm_kptm.errors import UserError
from mm_kptm.objectives.pairs import ImageTextMatching, Pairs
from mm_kptm.objectives.rows import mean, mean_of_each
from mm_kptm.objectives.spec import REGION_FEATURES, REGIONS, TEXTS, ObjectiveContext, ObjectiveSpec
from mm_kptm.objectives.tokens import BernoulliOrAny, MaskingPolicy
from mm_kptm.systems.system import System
from mm_kptm.vision.objectives.optimal_transport import transport_distances

REGION_CLASSES = "class distributions of image regions"  #: need fulfilled by the number of classes, C


@dataclass(frozen=True, eq=False)
class HiddenRegions(Movable):
    """Inputs with masked regions, their rows and their targets."""

    inputs: Inputs
    rows: Tensor  #: rows of the regions expanded per text, [P]
    targets: Tensor  #: [P, F or C]
    sequence_ids: Tensor  #: example of each, [P]

    def __len__(self) -> int:
        return len(self.inputs)


class MaskedRegions(ABC):
    """Prediction of targets of masked regions (Chen et al. 2020, section 3.2).

    Text stays uncorrupted while regions are masked. A region of an image that several texts share is masked for all of
    them and predicted for each.
    """

    name: ClassVar[str]
    head: ClassVar[str]  #: of the system

    def __init__(self, choice: MaskingPolicy | None = None) -> None:
        self.choice = BernoulliOrAny(0.15) if choice is None else choice
        self.sizes: dict[str, int] = {}

    @classmethod
    def of(cls, num_classes: int) -> Self:
        """The objective for a detector with ``num_classes`` classes, background included."""
        objective = cls()
        objective.sizes = {"num_classes": num_classes}
        return objective

    @abstractmethod
    def targets(self, regions: Regions) -> Tensor:
        """The targets of every region, [R, F or C]."""

    @abstractmethod
    def elements(self, predicted: Tensor, targets: Tensor) -> Tensor:
        """The loss of every masked region, [P], or of every element of its prediction, [P, F or C]."""

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> HiddenRegions:
        """Mask some regions of every image: their features become zero, and the model adds its mask vector.

        Raises:
            UserError: there are no regions, or they lack the targets.
        """
        shown, rows = inputs.repeat_shared()
        regions = inputs.regions
        assert regions is not None  # shown() has refused inputs without regions
        targets = self.targets(regions)
        draws = torch.rand(regions.layout.total, generator=generator)
        hidden = self.choice(draws, torch.ones_like(draws, dtype=torch.bool), regions.layout)
        asked = hidden[rows].nonzero().squeeze(1)
        features = regions.features.masked_fill(hidden[:, None], 0.0)
        covered = replace(regions, features=features, masked=hidden, classes=None)
        sequence_ids = shown.sequence_ids(asked.device)[asked]
        return HiddenRegions(inputs.with_streams(regions=covered), asked, targets[rows][asked], sequence_ids)

    def losses(self, system: System, batch: HiddenRegions) -> Tensor:
        """:meth:`elements` of the predictions of the system's head."""
        encoded: Encoded = system(batch.inputs, OutputRows({"regions": batch.rows}, pooled=False))
        return self.elements(system.head(self.head)(encoded.regions), batch.targets)

    def loss(self, system: System, batch: HiddenRegions) -> Tensor:
        """The mean over all elements of the batch."""
        return mean(self.losses(system, batch).flatten())

    def measure(self, system: System, batch: HiddenRegions) -> Tensor:
        """The mean over the elements of each example, [B]."""
        losses = self.losses(system, batch)
        return mean_of_each(losses.flatten(1).mean(1) if losses.dim() > 1 else losses, batch.sequence_ids, len(batch))


class MaskedRegionFeatures(MaskedRegions):
    """Masked region feature regression (MRFR): squared error, averaged over all elements."""

    name = head = "masked-region-features"

    def targets(self, regions: Regions) -> Tensor:
        return regions.features

    def elements(self, predicted: Tensor, targets: Tensor) -> Tensor:
        return F.mse_loss(predicted, targets.to(predicted.dtype), reduction="none")


class MaskedRegionClasses(MaskedRegions):
    """Masked region classification (MRC): cross-entropy with the detector's class, averaged over regions.

    The class is the detector's most probable one but for class 0, background, which is never a target.
    """

    name = head = "masked-region-classes"

    def targets(self, regions: Regions) -> Tensor:
        return _detected(regions, self.name)

    def elements(self, predicted: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(predicted, targets[:, 1:].argmax(1) + 1, reduction="none")


class MaskedRegionDistributions(MaskedRegions):
    """Masked region classification against the detector's class distribution (MRC-kl).

    Kullback-Leibler divergence; its terms are averaged over all elements (regions times classes), as in the released
    code, so that the loss is smaller by the number of classes than the divergence itself.
    """

    name = "masked-region-distributions"
    head = "masked-region-classes"

    def targets(self, regions: Regions) -> Tensor:
        return _detected(regions, self.name)

    def elements(self, predicted: Tensor, targets: Tensor) -> Tensor:
        return F.kl_div(F.log_softmax(predicted, dim=-1), targets.to(predicted.dtype), reduction="none")


class WordRegionAlignment(ImageTextMatching):
    """Image-text matching and word-region alignment in one forward pass (Chen et al. 2020, eq. 4).

    The mean cross-entropy of the pairs plus ``weight`` times the transport distance: matched pairs are pulled together,
    mismatched ones pushed apart, and the sum is divided by the number of pairs. It replaces
    image-text-matching in a mixture and needs the same head.
    """

    name = "word-region-alignment"
    head = ImageTextMatching.name

    def __init__(self, *, rate: float = 0.5, weight: float = 0.1) -> None:
        super().__init__(rate=rate)
        self.weight = weight

    def losses(self, system: System, batch: Pairs) -> Tensor:
        """Cross-entropy plus the weighted, signed distance of every pair, [B]."""
        encoded: Encoded = system(batch.inputs)
        scores = system.head(self.head)(encoded.pooled)
        distances = pair_distances(encoded, batch.inputs)
        signs = batch.matched.to(distances.dtype) * 2 - 1
        return F.cross_entropy(scores, batch.matched, reduction="none") + self.weight * signs * distances


def pair_distances(encoded: Encoded, inputs: Inputs) -> Tensor:
    """The transport distance between the tokens (special ones too) and the regions of every pair, [B].

    Raises:
        UserError: the inputs lack text or regions.
    """
    if inputs.text is None:
        raise UserError("words and regions are to be aligned, but the inputs have no text")
    shown, _ = inputs.repeat_shared()
    return transport_distances(encoded.text, inputs.text.layout, encoded.regions, shown)


def ranking_losses(scores: Tensor, *, margin: float = 0.2) -> Tensor:
    """Hinge ranking loss of each negative pair of a group (Chen et al. 2020, section 4.2).

    Args:
        scores: scores of groups of pairs, the positive first, [groups, S].
        margin: margin after a sigmoid.

    Returns:
        max(0, margin + sigmoid(wrong) - sigmoid(right)), [groups, S - 1]; training takes the mean.
    """
    shares = scores.sigmoid()
    return (margin + shares[:, 1:] - shares[:, :1]).clamp(min=0.0)


def grounding_losses(scores: Tensor, layout: SequenceLayout, targets: Tensor) -> Tensor:
    """Cross-entropy of the gold region among those of its image, [B]; the published training sums them.

    Args:
        scores: logits of the regions, [R].
        layout: layout of the regions of each text.
        targets: index of the gold region in its image, [B].
    """
    return F.cross_entropy(pad(scores, layout, value=float("-inf")), targets, reduction="none")


def _detected(regions: Regions, objective: str) -> Tensor:
    if regions.classes is None:
        raise UserError(f"{objective} needs the detector's classes of every region, but the regions carry none")
    return regions.classes


_UNITER = "Chen et al. 2020, UNITER, ECCV, section 3.2"


def _of_classes(build: Callable[[int], MaskedRegions]) -> Callable[[ObjectiveContext], MaskedRegions]:
    return lambda context: build(context.offered(REGION_CLASSES))


MASKED_REGION_FEATURES = ObjectiveSpec(
    MaskedRegionFeatures.name,
    _UNITER,
    lambda context: MaskedRegionFeatures(),
    needs=(TEXTS, REGIONS, REGION_FEATURES),
)
MASKED_REGION_CLASSES = ObjectiveSpec(
    MaskedRegionClasses.name, _UNITER, _of_classes(MaskedRegionClasses.of), needs=(TEXTS, REGIONS, REGION_CLASSES)
)
MASKED_REGION_DISTRIBUTIONS = ObjectiveSpec(
    MaskedRegionDistributions.name,
    _UNITER,
    _of_classes(MaskedRegionDistributions.of),
    needs=(TEXTS, REGIONS, REGION_CLASSES),
)
WORD_REGION_ALIGNMENT = ObjectiveSpec(
    WordRegionAlignment.name,
    f"{_UNITER}, equation 4",
    lambda context: WordRegionAlignment(**context.arguments),
    needs=(TEXTS, REGIONS),
)
