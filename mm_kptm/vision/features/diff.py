"""Comparison of two extractions of the same images: matched boxes, and similarity of features and classes.

Shapes: N and M regions of one image in the two extractions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from mm_kptm.data.images.folders import SUFFIXES
from mm_kptm.errors import UserError
from mm_kptm.vision.features.detections import Array, Detections


@dataclass
class Difference:
    """Differences between two extractions; means are over matched pairs of regions."""

    images: int = 0  #: images in both
    only_first: list[str] = field(default_factory=list)
    only_second: list[str] = field(default_factory=list)
    sizes: list[str] = field(default_factory=list)  #: images with different sizes
    regions: tuple[int, int] = (0, 0)  #: regions of the images in both
    matched: int = 0  #: pairs with an IoU of at least the threshold
    iou: float = 0.0  #: mean IoU
    cosine: float | None = None  #: mean feature cosine; None if their dims differ
    worst_cosine: float | None = None
    same_class: float | None = None  #: share of pairs with equal class; None if a side has no classes
    dims: tuple[int, int] = (0, 0)


def aligned(
    first: Iterator[Detections], second: Iterator[Detections]
) -> Iterator[tuple[Detections | None, Detections | None]]:
    """Align the images of two streams by id, with or without the ending of a picture file.

    Memory is constant if both have the same order.
    """
    waiting: tuple[dict[str, Detections], dict[str, Detections]] = ({}, {})
    streams = [first, second]
    live = [True, True]
    while any(live):
        for side in (0, 1):
            image = next(streams[side], None) if live[side] else None
            if image is None:
                live[side] = False
            elif (partner := waiting[1 - side].pop(_bare(image.image), None)) is not None:
                yield (image, partner) if side == 0 else (partner, image)
            else:
                waiting[side][_bare(image.image)] = image
    for image in waiting[0].values():
        yield image, None
    for image in waiting[1].values():
        yield None, image


def _bare(image: str) -> str:
    """An id without the ending of a picture file, which extractions keep and published files do not."""
    stem, dot, ending = image.rpartition(".")
    return stem if stem and f"{dot}{ending}".lower() in SUFFIXES else image


def overlap(first: Array, second: Array) -> Array:
    """IoU of every pair of boxes, [N, M], from [N, 4] and [M, 4] in the same unit."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = (high - low).clip(0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def match(iou: Array, threshold: float) -> tuple[Array, Array]:
    """Greedy one-to-one matching by decreasing IoU [N, M]: two index arrays of the pairs.

    >>> first, second = match(np.array([[0.9, 0.8], [0.7, 0.1]]), 0.5)
    >>> first.tolist(), second.tolist()
    ([0], [0])
    """
    left, right = [], []
    free = iou.copy()
    while free.size and free.max() >= threshold and free.max() > 0:
        one, two = np.unravel_index(int(free.argmax()), free.shape)
        left.append(int(one))
        right.append(int(two))
        free[one, :] = free[:, two] = -1
    return np.array(left, dtype=np.int64), np.array(right, dtype=np.int64)


def cosines(first: Array, second: Array) -> Array:
    """Row-wise cosine, [N]; 1 if both rows are zero, 0 if one is."""
    one, two = first.astype(np.float64), second.astype(np.float64)
    lengths = np.linalg.norm(one, axis=1), np.linalg.norm(two, axis=1)
    product = lengths[0] * lengths[1]
    nothing = (lengths[0] == 0) & (lengths[1] == 0)
    return np.where(nothing, 1.0, (one * two).sum(axis=1) / np.where(product > 0, product, 1.0))


def classes_of(image: Detections) -> Array | None:
    """Best class of each region, counted without the background, [N]."""
    if image.object_ids is not None:
        return image.object_ids
    if image.class_probs is not None and image.class_probs.shape[1] > 1:
        return image.class_probs[:, 1:].argmax(axis=1)
    return None if image.object_names is None else np.array(image.object_names)


def diff(first: Iterator[Detections], second: Iterator[Detections], *, threshold: float = 0.5) -> Difference:
    """Compare two extractions.

    Args:
        first: first extraction.
        second: second extraction, in any order.
        threshold: smallest IoU of a matched pair.

    Raises:
        UserError: boxes are pixels on one side and fractions on the other, and the size is unknown; features or boxes
            are not finite; or no image is in both.
    """
    difference = Difference()
    total_iou, cosine_sum, worst, classes = 0.0, 0.0, 1.0, [0, 0]
    comparable = True
    for one, two in aligned(first, second):
        if one is None:
            difference.only_second.extend([] if two is None else [two.image])
            continue
        if two is None:
            difference.only_first.append(one.image)
            continue
        difference.images += 1
        for image in (one, two):
            if not (np.isfinite(image.features).all() and np.isfinite(image.boxes).all()):
                raise UserError(
                    f"image {image.image!r} has features or boxes that are not finite numbers, so nothing can be "
                    "compared; `mm-kptm features doctor` counts such images"
                )
        if one.size and two.size and one.size != two.size:
            difference.sizes.append(one.image)
        difference.regions = (difference.regions[0] + len(one), difference.regions[1] + len(two))
        boxes = in_one_unit(one, two)
        iou = overlap(*boxes)
        left, right = match(iou, threshold)
        difference.matched += len(left)
        total_iou += float(iou[left, right].sum())
        if len(one) and len(two):
            difference.dims = (one.features.shape[1], two.features.shape[1])
        if one.features.shape[1] != two.features.shape[1]:
            comparable = comparable and not (len(one) and len(two))
        elif len(left):
            alike = cosines(one.features[left], two.features[right])
            cosine_sum += float(alike.sum())
            worst = min(worst, float(alike.min()))
        kinds = classes_of(one), classes_of(two)
        if kinds[0] is not None and kinds[1] is not None and kinds[0].dtype.kind == kinds[1].dtype.kind:
            classes[0] += int((kinds[0][left] == kinds[1][right]).sum())
            classes[1] += len(left)
    if not difference.images and difference.only_first and difference.only_second:
        raise UserError(
            f"no image is in both: the first has {difference.only_first[0]!r}, the second "
            f"{difference.only_second[0]!r}; images are compared by their ids"
        )
    if difference.matched:
        difference.iou = total_iou / difference.matched
        if comparable:
            difference.cosine, difference.worst_cosine = cosine_sum / difference.matched, worst
    if classes[1]:
        difference.same_class = classes[0] / classes[1]
    return difference


def in_one_unit(first: Detections, second: Detections) -> tuple[Array, Array]:
    """Boxes of both in a common unit: unchanged if they agree, else fractions."""
    if first.fractions == second.fractions and (first.fractions or first.size == second.size):
        return first.boxes, second.boxes
    return first.fraction_boxes(), second.fraction_boxes()
