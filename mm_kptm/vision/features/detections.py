"""Regions of one image: the common record of all feature file formats.

Shapes: N regions, F features, C classes with the background as column 0, A attributes with "none" as column 0.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mm_kptm.errors import UserError

Array = NDArray[Any]


@dataclass(frozen=True)
class Detections:
    """Boxes, features and detector outputs of each region; values that a format lacks are None.

    Raises:
        UserError: the arrays have different numbers of regions.
    """

    image: str  #: image id, as spelt in the file
    features: Array  #: [N, F]
    boxes: Array  #: x1 y1 x2 y2, [N, 4]
    size: tuple[int, int] | None = None  #: width and height of the original image in pixels
    fractions: bool = False  #: whether boxes are fractions of the image instead of pixels
    class_probs: Array | None = None  #: class distribution, [N, C]
    object_ids: Array | None = None  #: best class, counted without the background, [N]
    object_confidences: Array | None = None  #: its probability, [N]
    attribute_probs: Array | None = None  #: attribute distribution, [N, A]
    attribute_ids: Array | None = None  #: best attribute, counted without "none", [N]
    attribute_confidences: Array | None = None  #: its probability, [N]
    confidences: Array | None = None  #: highest class probability that survived class-wise NMS, [N]
    object_names: tuple[str, ...] | None = None  #: class names, N of them

    def __post_init__(self) -> None:
        if self.features.ndim != 2 or self.boxes.shape != (len(self.features), 4):
            raise UserError(
                f"image {self.image!r} has features of shape {list(self.features.shape)} and boxes of shape "
                f"{list(self.boxes.shape)}; [regions, dim] and [regions, 4] were expected"
            )
        for name, value in self.columns().items():
            if len(value) != len(self):
                raise UserError(f"image {self.image!r} has {len(self)} boxes but {len(value)} rows of {name}")

    def __len__(self) -> int:
        """Number of regions, N."""
        return len(self.boxes)

    def columns(self) -> dict[str, Any]:
        """Optional columns that are present, by name."""
        return {name: value for name in OPTIONAL if (value := getattr(self, name)) is not None}

    def fraction_boxes(self) -> Array:
        """Boxes as fractions of the image, [N, 4]: x divided by the width, y by the height, without a +1.

        Raises:
            UserError: boxes are pixels and the image's size is unknown.
        """
        return self.boxes if self.fractions else self.boxes / self._scale("fractions")

    def pixel_boxes(self) -> Array:
        """Boxes in pixels of the original image, [N, 4].

        Raises:
            UserError: boxes are fractions and the image's size is unknown.
        """
        return self.boxes * self._scale("pixels") if self.fractions else self.boxes

    def require(self, name: str, target: str) -> Any:
        """The column ``name``, which the format ``target`` requires.

        Raises:
            UserError: it is missing.
        """
        if (value := getattr(self, name)) is None:
            raise UserError(f"{target} needs {name} of every image, but image {self.image!r} comes without")
        return value

    def _scale(self, unit: str) -> Array:
        if self.size is None or min(self.size) <= 0:
            raise UserError(
                f"boxes of image {self.image!r} cannot be turned into {unit}: its file does not say the image's "
                "size; give the folder of pictures with --images"
            )
        return np.array([*self.size, *self.size], dtype=np.float32)


OPTIONAL = tuple(field.name for field in fields(Detections))[5:]  #: names of the optional columns


def image_number(image: str) -> int:
    """Number at the end of an image id, for formats with integer ids.

    >>> image_number("COCO_val2014_000000000042")
    42

    Raises:
        UserError: the id does not end in digits.
    """
    digits = image[len(image.rstrip("0123456789")) :]
    if not digits:
        raise UserError(f"image {image!r} does not end in a number, which this format needs as its id")
    return int(digits)
