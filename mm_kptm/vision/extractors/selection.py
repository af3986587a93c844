"""Selection of regions among proposals in bottom-up attention (``tools/generate_tsv.py`` of the release).

Boxes are not regressed per class. The confidence of a proposal is its highest probability among the classes in whose
non-maximum suppression it survives; proposals above a threshold are selected, within limits on their number.

Shapes: P proposals, C classes with the background as column 0, A attributes with "none" as column 0, K selected.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_iou

from mm_kptm.vision.extractors.proposals import inclusive


@dataclass(frozen=True)
class SelectionRule:
    """Hyperparameters of the selection: 10 to 100 adaptive boxes by default; 36 and 36 for the fixed form."""

    min_boxes: int = 10
    max_boxes: int = 100
    threshold: float = 0.2  #: lowest confidence
    nms: float = 0.3  #: IoU threshold of the class-wise NMS


def surviving_confidences(boxes: Tensor, class_probs: Tensor, threshold: float) -> Tensor:
    """Highest probability of each proposal among the classes in whose NMS it survives; 0 where in none, [P].

    Args:
        boxes: inclusive pixels of the original image, [P, 4].
        class_probs: class distribution, [P, C].
        threshold: IoU threshold of the class-wise NMS.
    """
    scores = class_probs[:, 1:].T.contiguous()  # [C - 1, P]
    if not scores.numel():
        return class_probs.new_zeros(len(boxes))
    overlapping = box_iou(inclusive(boxes), inclusive(boxes)) > threshold  # [P, P]
    order = scores.argsort(dim=1, descending=True, stable=True)
    alive = torch.ones_like(scores, dtype=torch.bool)
    rows = torch.arange(len(scores), device=scores.device)
    for index in order.T:  # the next best box of every class at once
        removed = overlapping[index] & alive[rows, index, None]
        removed[rows, index] = False
        alive &= ~removed
    return (scores * alive).amax(dim=0)


def select(confidences: Tensor, rule: SelectionRule) -> Tensor:
    """Indices of the selected proposals, [K].

    In the order of the proposals if the threshold selects a number within limits, else by decreasing confidence.

    >>> select(torch.tensor([0.1, 0.9, 0.5]), SelectionRule(min_boxes=1, max_boxes=3))
    tensor([1, 2])
    >>> select(torch.tensor([0.1, 0.5, 0.9]), SelectionRule(min_boxes=1, max_boxes=1))
    tensor([2])
    """
    selected = (confidences >= rule.threshold).nonzero()[:, 0]
    if rule.min_boxes <= len(selected) <= rule.max_boxes:
        return selected
    count = rule.min_boxes if len(selected) < rule.min_boxes else rule.max_boxes
    return confidences.argsort(descending=True, stable=True)[:count]


def best_class(probs: Tensor) -> tuple[Tensor, Tensor]:
    """Best class without the background (column 0), counted from 0, and its probability, both [K]; probs [K, C]."""
    confidences, ids = probs[:, 1:].max(dim=1)
    return ids, confidences
