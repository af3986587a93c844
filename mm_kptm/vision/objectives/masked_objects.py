"""Masked objects: prediction of the detector's objects, attributes and features of regions (LXMERT).

Shapes: R regions, R' regions expanded per text, F width of region features, B examples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.batch import EVERY_ROW, Detected, Encoded, Inputs, Movable, OutputRows, Regions
from mm_kptm.errors import UserError
from mm_kptm.objectives.rows import mean, mean_of_each
from mm_kptm.objectives.spec import REGIONS, TEXTS, ObjectiveSpec
from mm_kptm.objectives.tokens import Bernoulli, MaskingPolicy
from mm_kptm.systems.system import System
from mm_kptm.vision.modules.heads import ObjectScores

#: The share of regions that LXMERT masks; its losses, averaged over all regions, are divided by it.
RATE = 0.15
#: Need fulfilled by the sizes of the head, ``num_objects`` and ``num_attributes``.
DETECTED_OBJECTS = "detected objects and attributes of image regions"


@dataclass(frozen=True)
class RegionMasking:
    """Region masking: which regions are masked, and what replaces their features (Tan and Bansal 2019, section 3.1.2).

    A masked region's feature becomes zero, or that of another region of the batch (of the dataset in the released
    code), or stays. Boxes stay.

    Args:
        choice: the policy.
        masked: share of masked regions whose feature becomes zero; of the rest, ``swapped`` becomes another's.
    """

    choice: MaskingPolicy = field(default_factory=lambda: Bernoulli(RATE))
    masked: float = 0.8
    swapped: float = 0.1

    def mask(self, regions: Regions, generator: torch.Generator) -> tuple[Regions, Tensor]:
        """The corrupted regions, and which were masked, [R]; ``regions`` are unchanged."""
        choose, treat, other = torch.rand(3, regions.layout.total, generator=generator)
        hidden = self.choice(choose, torch.ones_like(choose, dtype=torch.bool), regions.layout)
        masked = hidden & (treat < self.masked)
        swapped = hidden & ~masked & (treat < self.masked + self.swapped)
        others = regions.features[(other * len(other)).long()]
        features = torch.where(swapped[:, None], others, regions.features).masked_fill(masked[:, None], 0.0)
        return replace(regions, features=features, classes=None, objects=None, attributes=None), hidden


@dataclass(frozen=True, eq=False)
class ObjectTargets(Movable):
    """Targets of every region, expanded per text."""

    objects: Detected
    attributes: Detected
    features: Tensor  #: original features, [R', F]
    hidden: Tensor  #: true where masked, [R']
    sequence_ids: Tensor  #: example of each, [R']

    @classmethod
    def of(cls, inputs: Inputs, hidden: Tensor) -> ObjectTargets:
        """The targets of uncorrupted inputs, given which of their regions [R] will be masked.

        Raises:
            UserError: there are no regions, or the detector's objects or attributes are missing.
        """
        layout, rows = inputs.repeat_shared()
        regions = inputs.regions
        assert regions is not None  # shown() has refused inputs without regions
        if regions.objects is None or regions.attributes is None:
            missing = "objects" if regions.objects is None else "attributes"
            raise UserError(f"masked-objects needs the detector's {missing}, but the regions carry none")
        return cls(
            objects=Detected(regions.objects.ids[rows], regions.objects.confidence[rows]),
            attributes=Detected(regions.attributes.ids[rows], regions.attributes.confidence[rows]),
            features=regions.features[rows],
            hidden=hidden[rows],
            sequence_ids=layout.sequence_ids(hidden.device),
        )

    def losses(self, scores: Tensor, widths: tuple[int, int, int]) -> Tensor:
        """The three losses of every region, [R', 3], from the outputs of the head.

        Objects and attributes: the cross-entropy times the detector's confidence, of all regions, masked or not, as in
        the released code. Features: the smooth absolute error, averaged over the feature, of masked regions alone. All
        are divided by :data:`RATE`.
        """
        objects, attributes, features = scores.split(widths, dim=1)
        errors = F.smooth_l1_loss(features, self.features.to(features.dtype), reduction="none").mean(1)
        losses = [
            F.cross_entropy(objects, self.objects.ids, reduction="none") * self.objects.confidence,
            F.cross_entropy(attributes, self.attributes.ids, reduction="none") * self.attributes.confidence,
            errors * self.hidden,
        ]
        return torch.stack(losses, dim=1) / RATE


@dataclass(frozen=True, eq=False)
class HiddenObjects(Movable):
    """Inputs with masked regions, and the targets of all regions."""

    inputs: Inputs
    targets: ObjectTargets

    def __len__(self) -> int:
        return len(self.inputs)


class MaskedObjects:
    """Classification of objects and attributes of all regions, and regression of the features of masked ones.

    One loss is the sum of the three of Tan and Bansal (2019, section 3.1.2), each averaged over all regions.

    Args:
        masking: masks the regions.
        sizes: of the head, ``num_objects`` and ``num_attributes``; the published ones unless given.
    """

    name = "masked-objects"

    def __init__(self, masking: RegionMasking | None = None, *, sizes: Mapping[str, int] | None = None) -> None:
        self.masking = RegionMasking() if masking is None else masking
        self.sizes = dict(sizes or {})

    def prepare(self, inputs: Inputs, generator: torch.Generator) -> HiddenObjects:
        """Mask some regions of every image.

        Raises:
            UserError: there are no regions, or they lack the targets.
        """
        if inputs.regions is None:
            raise UserError("masked-objects masks regions, but the inputs have none")
        covered, hidden = self.masking.mask(inputs.regions, generator)
        return HiddenObjects(inputs.with_streams(regions=covered), ObjectTargets.of(inputs, hidden))

    def losses(self, system: System, batch: HiddenObjects) -> Tensor:
        """The losses of every region, [R', 3]; see :meth:`ObjectTargets.losses`."""
        encoded: Encoded = system(batch.inputs, OutputRows({"regions": EVERY_ROW}, pooled=False))
        head = cast(ObjectScores, system.head(self.name))
        return batch.targets.losses(head(encoded.regions), head.widths)

    def loss(self, system: System, batch: HiddenObjects) -> Tensor:
        """The sum of the three means over all regions of the batch."""
        return mean(self.losses(system, batch).sum(1))

    def measure(self, system: System, batch: HiddenObjects) -> Tensor:
        """The sum of the three means over the regions of each example, [B]."""
        return mean_of_each(self.losses(system, batch).sum(1), batch.targets.sequence_ids, len(batch))


MASKED_OBJECTS = ObjectiveSpec(
    MaskedObjects.name,
    "Tan and Bansal 2019, LXMERT, EMNLP, section 3.1.2",
    lambda context: MaskedObjects(sizes=context.offered(DETECTED_OBJECTS)),
    needs=(TEXTS, REGIONS, DETECTED_OBJECTS),
)
