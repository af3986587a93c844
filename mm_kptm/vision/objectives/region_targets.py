"""Targets of masked regions in ViLBERT and VOLTA, and their losses (Bugliarello et al. 2021, appendix B).

Shapes: H masked regions, F width of region features, C classes of the detector, N negatives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.batch import Detected, Movable, Regions, SequenceLayout
from mm_kptm.errors import UserError

T = TypeVar("T")

#: Share of the negatives of a region that come from other images.
ACROSS = 0.7


@dataclass(frozen=True, eq=False)
class RegionTruths(Movable):
    """Targets of the masked regions; None where the data lack them."""

    features: Tensor  #: original features, [H, F]
    classes: Tensor | None = None  #: the detector's distribution, class 0 is background, [H, C]
    objects: Detected | None = None  #: [H]
    attributes: Detected | None = None  #: [H]
    negatives: Tensor | None = None  #: features of other regions, [H, N, F]

    @classmethod
    def of(cls, regions: Regions, rows: Tensor, *, negatives: Tensor | None = None) -> RegionTruths:
        """The targets of ``rows`` [H] of uncorrupted regions; ``negatives`` [H, N] are rows, too."""
        return cls(
            features=regions.features[rows],
            classes=None if regions.classes is None else regions.classes[rows],
            objects=_picked(regions.objects, rows),
            attributes=_picked(regions.attributes, rows),
            negatives=None if negatives is None else regions.features[negatives],
        )


def distributions(predicted: Tensor, truths: RegionTruths) -> Tensor:
    """The divergence of the prediction from the detector's distribution, summed over classes."""
    classes = _known(truths.classes, "distributions", "distribution over classes")
    return F.kl_div(F.log_softmax(predicted, -1), classes.to(predicted.dtype), reduction="none").sum(-1)


def features(predicted: Tensor, truths: RegionTruths) -> Tensor:
    """The squared error of the feature, averaged over its numbers."""
    return F.mse_loss(predicted, truths.features.to(predicted.dtype), reduction="none").mean(-1)


def smooth_features(predicted: Tensor, truths: RegionTruths) -> Tensor:
    """The smooth absolute error of the feature, averaged over its numbers."""
    return F.smooth_l1_loss(predicted, truths.features.to(predicted.dtype), reduction="none").mean(-1)


def contrast(predicted: Tensor, truths: RegionTruths) -> Tensor:
    """The cross-entropy of the true feature among negatives, scored by dot products (no temperature, no norm)."""
    negatives = _known(truths.negatives, "contrast", "features of other regions")
    candidates = torch.cat([truths.features[:, None], negatives], 1).to(predicted.dtype)  # [H, 1 + N, F]
    return -torch.einsum("hf,hnf->hn", predicted, candidates).log_softmax(-1)[:, 0]


def objects(predicted: Tensor, truths: RegionTruths) -> Tensor:
    """The cross-entropy of the detector's best object (no background class), times its confidence."""
    return _sure(predicted, _known(truths.objects, "objects", "objects"))


def attributes(predicted: Tensor, truths: RegionTruths) -> Tensor:
    """The cross-entropy of the detector's best attribute, times its confidence."""
    return _sure(predicted, _known(truths.attributes, "attributes", "attributes"))


def classes(predicted: Tensor, truths: RegionTruths) -> Tensor:
    """The cross-entropy of the detector's most probable class."""
    return F.cross_entropy(
        predicted, _known(truths.classes, "classes", "distribution over classes").argmax(-1), reduction="none"
    )


#: By the names of this suite, in the order of VOLTA's ``visual_target_weights`` 0 to 6 (0 to 2: ViLBERT's
#: ``visual_target``).
TARGETS: dict[str, Callable[[Tensor, RegionTruths], Tensor]] = {
    "distributions": distributions,
    "features": features,
    "contrast": contrast,
    "objects": objects,
    "attributes": attributes,
    "smooth-features": smooth_features,
    "classes": classes,
}


def target_widths(region_dim: int, *, num_classes: int, num_objects: int, num_attributes: int) -> dict[str, int]:
    """Output width of each of :data:`TARGETS`."""
    widths = dict.fromkeys(TARGETS, region_dim)
    return widths | {
        "distributions": num_classes,
        "classes": num_classes,
        "objects": num_objects,
        "attributes": num_attributes,
    }


def drawn_negatives(rows: Tensor, layout: SequenceLayout, count: int, generator: torch.Generator) -> Tensor:
    """Sampled negative regions for each of ``rows`` [H]: [H, count].

    A share :data:`ACROSS` comes from regions of other images, the rest from the same image, all uniformly and with
    repeats; without another image, or another region of the image, all come from the other source.

    Raises:
        UserError: the batch has no other region.
    """
    total = layout.total
    if total < 2 and len(rows):
        raise UserError("the target contrast needs other regions as negatives, but the batch has one region only")
    owner = layout.sequence_ids(rows.device)[rows]
    first, size = layout.starts(rows.device)[owner], torch.tensor(layout.lengths)[owner]
    across = torch.arange(count) < int(count * ACROSS)  # [count]
    across = torch.where((size < 2)[:, None], True, torch.where((size >= total)[:, None], False, across))
    room = torch.where(across, (total - size)[:, None], (size - 1)[:, None])
    drawn = (torch.rand(len(rows), count, generator=generator) * room).long()
    outside = torch.where(drawn < first[:, None], drawn, drawn + size[:, None])  # step over the own image
    own = (rows - first)[:, None]
    inside = first[:, None] + torch.where(drawn < own, drawn, drawn + 1)  # step over the region itself
    return torch.where(across, outside, inside)


def _picked(detected: Detected | None, rows: Tensor) -> Detected | None:
    return None if detected is None else Detected(detected.ids[rows], detected.confidence[rows])


def _sure(predicted: Tensor, detected: Detected) -> Tensor:
    return F.cross_entropy(predicted, detected.ids, reduction="none") * detected.confidence


def _known(truth: T | None, target: str, what: str) -> T:
    if truth is None:
        raise UserError(f"to predict {target} of masked regions takes their {what}, but the regions carry none")
    return truth
