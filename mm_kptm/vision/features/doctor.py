"""Diagnosis of region features from their values, the contract, the images and a second extraction.

What can be detected depends on the inputs: sizes and boxes reveal swapped axes if boxes leave the image; the image
files make that certain; extracting some images again under the contract reveals a wrong colour order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from mm_kptm.errors import UserError
from mm_kptm.vision.features.contract import FeatureContract, inconsistencies
from mm_kptm.vision.features.convert import PictureSizes
from mm_kptm.vision.features.detections import Array, Detections
from mm_kptm.vision.features.diff import classes_of, cosines, in_one_unit, match, overlap

SLACK = 1.5  #: pixels that a box may exceed the border
EXAMPLES = 3  #: images named per fault
MOST = 0.9  #: share of the regions that must agree on a class fault
VISUAL_GENOME = (1600, 400)  #: classes and attributes of the bottom-up detectors

#: Faults and their descriptions; ``{}`` is filled with numbers.
FAULTS = {
    "unreadable": "the file cannot be read on",
    "no-images": "the file holds no image",
    "image-twice": "images stand in the file once more",
    "empty-image": "images have no region",
    "not-finite": "images have features or boxes that are not finite numbers",
    "wrong-dim": "images have features of another dim than",
    "boxes-unnormalised": "images have boxes in pixels where fractions of the image belong",
    "boxes-normalised": "images have boxes as fractions where pixels belong",
    "boxes-not-corners": "images have boxes whose second corner lies before the first; x1 y1 x2 y2 belongs there",
    "boxes-outside": "images have boxes outside the picture",
    "xy-swapped": "images have boxes with x and y swapped: y1 x1 y2 x2 stands where x1 y1 x2 y2 belongs",
    "size-swapped": "images have width and height swapped",
    "size-wrong": "images have another size than their pictures",
    "classes-off-by-one": "regions have a class one off",
    "attributes-off-by-one": "regions have an attribute one off",
    "bgr-for-rgb": "colours are in the wrong order",
    "contract": "the data break their contract",
}


@dataclass(frozen=True)
class Fault:
    """Fault: its name in :data:`FAULTS`, a sentence, and some images that have it."""

    name: str
    sentence: str
    images: int = 0
    examples: tuple[str, ...] = ()


@dataclass
class _Tally:
    """Count and examples of the images with one fault."""

    images: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, image: str) -> None:
        self.images += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(image)


class Doctor:
    """Streaming diagnosis: reads images one by one and reports faults at the end.

    Args:
        contract: contract of the features.
        dim: expected feature size; default: that of the contract, or of most images.
        sizes: the image files.
    """

    def __init__(
        self, *, contract: FeatureContract | None = None, dim: int | None = None, sizes: PictureSizes | None = None
    ) -> None:
        self.contract, self.sizes = contract, sizes
        self.dim = dim or (contract.dim if contract else None)
        self.images = self.regions = self.pictured = 0  # the last: images that have a picture
        self._names: set[str] = set()
        self._tallies: dict[str, _Tally] = {}
        self._dims: dict[int, _Tally] = {}
        self._transposed = _Tally()  # boxes that fit only with swapped axes, of the boxes or of the size
        self._shapes: Counter[str] = Counter()  # shapes of the sizes in the file
        self._ids = _IdCheck("class", VISUAL_GENOME[0], contract.num_classes if contract else None)
        self._attributes = _IdCheck("attribute", VISUAL_GENOME[1], contract.num_attributes if contract else None)
        self._reference = _Reference()

    def examine(self, images: Iterator[Detections]) -> list[Fault]:
        """Diagnose a stream of images; a read error is a fault too.

        Raises:
            UserError: there are image files, but none is of an image.
        """
        try:
            for image in images:
                self.look(image)
        except UserError as error:
            return [
                *(self.faults() if self.images else []),
                Fault("unreadable", f"the file cannot be read on after {self.images} images: {error}"),
            ]
        if self.sizes is not None and self.regions and not self.pictured:
            raise UserError(
                f"{self.sizes.folder} has a picture of none of these {self.images} images, so they were not looked at; "
                "a picture goes by its path, its name, or the number at its end"
            )
        return self.faults()

    def look(self, image: Detections) -> None:
        """Examine one image."""
        self.images += 1
        self.regions += len(image)
        if image.image in self._names:
            self._count("image-twice", image)
        self._names.add(image.image)
        if image.size is not None:
            self._shapes["wide" if image.size[0] >= image.size[1] else "high"] += 1
        if not len(image):
            self._count("empty-image", image)
            return
        if not (np.isfinite(image.features).all() and np.isfinite(image.boxes).all()):
            self._count("not-finite", image)
            return
        self._dims.setdefault(image.features.shape[1], _Tally()).add(image.image)
        self._look_at_boxes(image, self._look_at_size(image))
        self._ids.look(image.object_ids, image.class_probs)
        self._attributes.look(image.attribute_ids, image.attribute_probs)

    def compare(self, image: Detections, reference: Detections, exchanged: Detections | None = None) -> None:
        """Compare an image with other extractions of it.

        Args:
            image: features under diagnosis.
            reference: trusted extraction of the same image.
            exchanged: the same extraction with red and blue exchanged.
        """
        self._reference.look(image, reference, exchanged)

    def faults(self) -> list[Fault]:
        """Faults of all images so far, the most certain first."""
        if not self.images:
            return [Fault("no-images", "the file holds no image")]
        self._judge_transposed()
        found = [self._fault(name, tally) for name, tally in self._tallies.items()]
        found += self._wrong_dims()
        found += [*self._ids.faults(), *self._attributes.faults(), *self._reference.faults()]
        for phrase in inconsistencies(self.contract) if self.contract else []:
            name = "bgr-for-rgb" if "means" in phrase else "contract"
            found.append(Fault(name, f"the contract contradicts itself: {phrase}"))
        order = list(FAULTS)
        unique = {fault.name: fault for fault in reversed(found)}
        return sorted(unique.values(), key=lambda fault: order.index(fault.name))

    def _count(self, name: str, image: Detections) -> None:
        self._tallies.setdefault(name, _Tally()).add(image.image)

    def _fault(self, name: str, tally: _Tally) -> Fault:
        sentence = f"{tally.images} of {self.images} {FAULTS[name]}"
        if name in ("xy-swapped", "size-swapped") and self.sizes is None:
            sentence += "; it is this and not the other swap if most pictures are wider than high, --images makes sure"
        return Fault(name, sentence, tally.images, tuple(tally.examples))

    def _look_at_size(self, image: Detections) -> tuple[tuple[int, int] | None, bool]:
        """Image size to check boxes against, and whether it comes from an image file."""
        path = self.sizes.path(image.image) if self.sizes else None
        if self.sizes is None or path is None:
            return image.size, False
        self.pictured += 1
        true = self.sizes.size(image.image)
        if image.size is not None and image.size != true:
            self._count("size-swapped" if image.size == true[::-1] else "size-wrong", image)
        return true, True

    def _look_at_boxes(self, image: Detections, known: tuple[tuple[int, int] | None, bool]) -> None:
        boxes, (size, certain) = image.boxes, known
        if (boxes[:, 2:] < boxes[:, :2]).any():
            self._count("boxes-not-corners", image)
        largest = float(boxes.max())
        if image.fractions and largest > 2:
            self._count("boxes-unnormalised", image)
            return
        if not image.fractions and largest <= 1.01 and (size is None or min(size) > 4):
            self._count("boxes-normalised", image)
            return
        if image.fractions:
            said = image.size or size
            if largest > 1.01 or boxes.min() < -0.01:
                if said is not None and _fits(boxes * np.tile(said[::-1], 2), said):
                    self._count("size-swapped", image)  # x was divided by the height
                else:
                    self._leaves(image, None if said is None else boxes * np.tile(said, 2), size, certain)
        elif size is not None:
            self._leaves(image, boxes, size, certain)

    def _leaves(self, image: Detections, pixels: Array | None, size: tuple[int, int] | None, certain: bool) -> None:
        """Count boxes outside of the image, separately those that fit with swapped axes; pixels [N, 4]."""
        if pixels is None or size is None:
            self._count("boxes-outside", image)
            return
        if _fits(pixels, size):
            return
        if _fits(pixels, size[::-1]):
            if certain:
                self._count("xy-swapped", image)
            else:
                self._transposed.add(image.image)
        else:
            self._count("boxes-outside", image)

    def _judge_transposed(self) -> None:
        """Decide whether the axes of boxes or of sizes are swapped, since most photographs are wider than high."""
        if self._transposed.images:
            name = "xy-swapped" if self._shapes["wide"] >= self._shapes["high"] else "size-swapped"
            self._tallies[name] = self._transposed

    def _wrong_dims(self) -> list[Fault]:
        if not self._dims:
            return []
        dim = self.dim or max(self._dims, key=lambda each: self._dims[each].images)
        found = []
        for other, tally in self._dims.items():
            if other != dim:
                sentence = f"{tally.images} of {self.images} images have features of {other} numbers, not {dim}"
                found.append(Fault("wrong-dim", sentence, tally.images, tuple(tally.examples)))
        return found


class _IdCheck:
    """Check of class ids against class distributions and the number of classes."""

    def __init__(self, kind: str, usual: int, count: int | None) -> None:
        self.kind, self.usual, self.count = kind, usual, count
        self._shifts: Counter[int] = Counter()
        self._least, self._most, self._seen = 2**31, -(2**31), 0

    def look(self, ids: Array | None, probs: Array | None) -> None:
        if probs is not None and probs.shape[1] > 2:
            self.count = self.count or probs.shape[1] - 1
            if ids is not None:
                best = probs[:, 1:].argmax(axis=1)
                self._shifts.update((ids.astype(np.int64) - best).tolist())
        if ids is not None:
            self._least, self._most = min(self._least, int(ids.min())), max(self._most, int(ids.max()))
            self._seen += len(ids)

    def faults(self) -> list[Fault]:
        """At most one fault."""
        name = "classes-off-by-one" if self.kind == "class" else "attributes-off-by-one"
        total = sum(self._shifts.values())
        for shift, side in ((1, "above"), (-1, "below")):
            if total and self._shifts[shift] >= MOST * total:
                return [
                    Fault(
                        name,
                        f"{self._shifts[shift]} of {total} regions have a {self.kind} id one {side} the best of their "
                        "distribution without its first column; ids count from 0 without the background",
                    )
                ]
        if not self._seen:
            return []
        count = self.count or (self.usual if self._most == self.usual else None)
        if self._least < 0:
            return [Fault(name, f"{self.kind} ids begin at {self._least}; they count from 0, without the background")]
        if count is not None and self._most == count and self._least >= 1:
            return [
                Fault(
                    name,
                    f"{self.kind} ids reach from {self._least} to {self._most}, but there are {count}, counted from 0; "
                    "these seem to count the background as 0",
                )
            ]
        return []


class _Reference:
    """Check of images against a trusted extraction of the same images."""

    def __init__(self) -> None:
        self.images = 0
        self._straight = self._crossed = 0.0
        self._sizes = 0
        self._shifts: Counter[int] = Counter()
        self._cosines: list[tuple[float, float]] = []

    def look(self, image: Detections, reference: Detections, exchanged: Detections | None) -> None:
        self.images += 1
        if image.size and reference.size and image.size != reference.size and image.size == reference.size[::-1]:
            self._sizes += 1
        ours, theirs = in_one_unit(image, reference)
        self._straight += _mean_best(overlap(ours, theirs))
        self._crossed += _mean_best(overlap(ours[:, [1, 0, 3, 2]], theirs))
        left, right = match(overlap(ours, theirs), 0.8)
        kinds = classes_of(image), classes_of(reference)
        if kinds[0] is not None and kinds[1] is not None and kinds[0].dtype.kind == kinds[1].dtype.kind == "i":
            self._shifts.update((kinds[0][left] - kinds[1][right]).tolist())
        if exchanged is not None:
            self._cosines.append((_alike(image, reference), _alike(image, exchanged)))

    def faults(self) -> list[Fault]:
        found = []
        basis = f"compared with {self.images} images of a second extraction"
        if self._sizes:
            found.append(Fault("size-swapped", f"{self._sizes} images have width and height swapped, {basis}"))
        if self._crossed > self._straight + 0.1 * self.images:
            found.append(
                Fault("xy-swapped", f"boxes meet those of a second extraction better with x and y swapped, {basis}")
            )
        total = sum(self._shifts.values())
        for shift in (1, -1):
            if total and self._shifts[shift] >= MOST * total:
                sentence = f"{self._shifts[shift]} of {total} regions have a class id {shift:+d} off, {basis}"
                found.append(Fault("classes-off-by-one", sentence))
        if self._cosines:
            alike, swapped = np.mean(self._cosines, axis=0)
            if swapped > alike and swapped > 0.99:
                found.append(
                    Fault(
                        "bgr-for-rgb",
                        f"features equal those of the pictures with red and blue exchanged (cosine {swapped:.4f}, as "
                        f"the contract has them {alike:.4f}), {basis}",
                    )
                )
        return found


def _fits(pixels: Array, size: tuple[int, int]) -> bool:
    """Whether boxes lie in an image of that width and height; pixels [N, 4]."""
    return bool((pixels[:, 2:].max(axis=0) <= np.array(size) + SLACK).all() and pixels.min() >= -SLACK)


def _alike(image: Detections, other: Detections) -> float:
    """Mean feature cosine of regions with matching boxes; 0 if none match."""
    if image.features.shape[1] != other.features.shape[1]:
        return 0.0
    left, right = match(overlap(*in_one_unit(image, other)), 0.9)
    return float(cosines(image.features[left], other.features[right]).mean()) if len(left) else 0.0


def _mean_best(iou: Array) -> float:
    """Mean over regions of their best IoU; iou [N, M]."""
    return float(iou.max(axis=1).mean()) if iou.size else 0.0
