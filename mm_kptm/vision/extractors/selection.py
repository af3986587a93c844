"""Which proposals become regions: the selection of bottom-up attention (``tools/generate_tsv.py`` of the release).

A proposal is not regressed. Its confidence is the highest probability among the classes in whose own non-maximum
suppression it survives; what is kept is above a threshold, within a least and a largest number.

Shapes: P proposals, C classes with the background as column 0, A attributes with "none" as column 0, K kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_iou

from mm_kptm.vision.extractors.proposals import inclusive


@dataclass(frozen=True)
class SelectionRule:
    """Numbers of the selection: 10 to 100 adaptive boxes by default; 36 and 36 for the fixed form."""

    min_boxes: int = 10
    max_boxes: int = 100
    threshold: float = 0.2  #: least confidence
    nms: float = 0.3  #: IoU above which the weaker box of a class goes


def surviving_confidences(boxes: Tensor, class_probs: Tensor, threshold: float) -> Tensor:
    """Highest probability of each proposal among the classes in whose NMS it survives; 0 where in none, [P].

    Args:
        boxes: inclusive pixels of the original image, [P, 4].
        class_probs: class distribution, [P, C].
        threshold: IoU above which the weaker box goes.
    """
    scores = class_probs[:, 1:].T.contiguous()  # [C - 1, P]
    if not scores.numel():
        return class_probs.new_zeros(len(boxes))
    overlapping = box_iou(inclusive(boxes), inclusive(boxes)) > threshold  # [P, P]
    order = scores.argsort(dim=1, descending=True, stable=True)
    alive = torch.ones_like(scores, dtype=torch.bool)
    rows = torch.arange(len(scores), device=scores.device)
    for place in order.T:  # the next best box of every class at once
        removed = overlapping[place] & alive[rows, place, None]
        removed[rows, place] = False
        alive &= ~removed
    return (scores * alive).amax(dim=0)


def select(confidences: Tensor, rule: SelectionRule) -> Tensor:
    """Indices of the proposals kept, [K].

    In the proposals' order where the threshold keeps a fitting number, else the best by falling confidence.

    >>> select(torch.tensor([0.1, 0.9, 0.5]), SelectionRule(min_boxes=1, max_boxes=3))
    tensor([1, 2])
    >>> select(torch.tensor([0.1, 0.5, 0.9]), SelectionRule(min_boxes=1, max_boxes=1))
    tensor([2])
    """
    kept = (confidences >= rule.threshold).nonzero()[:, 0]
    if rule.min_boxes <= len(kept) <= rule.max_boxes:
        return kept
    wanted = rule.min_boxes if len(kept) < rule.min_boxes else rule.max_boxes
    return confidences.argsort(descending=True, stable=True)[:wanted]


def best_class(probs: Tensor) -> tuple[Tensor, Tensor]:
    """The best class but column 0, counted without it, and its probability, both [K]; probs [K, C]."""
    confidences, ids = probs[:, 1:].max(dim=1)
    return ids, confidences
