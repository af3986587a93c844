"""Pictures whose regions are given boxes: the model computes the features of the boxes from the pixels.

Shapes: P images, R boxes of a batch, N boxes of an image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from mm_kptm.batch import Images, Regions, SequenceLayout
from mm_kptm.data.formats.vision.boxes import PictureBoxes, object_mask, read_boxes
from mm_kptm.data.images.decoding import picture_size
from mm_kptm.errors import UserError
from mm_kptm.preprocessing.images import PictureFolder
from mm_kptm.preprocessing.inputs import IntArray, RegionProvider

KEPT = 4096  #: images whose boxes stay in memory
Fractions = tuple[NDArray[np.float32], NDArray[np.float32] | None]  #: boxes [N, 4], and masks [N, 14, 14]


class GivenBoxes(RegionProvider, Protocol):
    """Protocol of boxes by the place of their image; their regions have no features."""

    @property
    def names(self) -> Sequence[str]:
        """Names of the images, [P]."""

    @property
    def boxes(self) -> NDArray[np.float32]:
        """Boxes of all images as fractions, one image after the other."""


@dataclass(frozen=True, eq=False)
class BoxedPictures:
    """The pictures of a folder, with given boxes.

    Args:
        pictures: the folder; a picture is found by any of its names there.
        given: the boxes, by the names of their images.
    """

    pictures: PictureFolder
    given: GivenBoxes

    @property
    def folder(self) -> Path:
        """The folder of the pictures."""
        return self.pictures.folder

    @property
    def dim(self) -> int:
        """Features of a box that the model computes."""
        return self.pictures.dim

    @cached_property
    def places(self) -> Mapping[str, int]:
        """The place of every image with boxes, by its name there and by those of its picture."""
        here = {self.pictures.places[name]: at for at, name in enumerate(self.given.names) if self._shows(name)}
        known = {name: here[place] for name, place in self.pictures.places.items() if place in here}
        return known | {name: at for at, name in enumerate(self.given.names) if self._shows(name)}

    def places_of(self, images: Iterable[str]) -> IntArray:
        """Places of images by name.

        Raises:
            UserError: a picture is not in the folder, or has no boxes.
        """
        found = []
        for image in images:
            if image not in self.places:
                self.pictures.places_of([image])
                raise UserError(f"there are boxes of {len(self.given.names)} images, but none of picture {image!r}")
            found.append(self.places[image])
        return np.array(found, dtype=np.int64)

    @property
    def lengths(self) -> IntArray:
        """Number of boxes of every image, [P]."""
        return self.given.lengths

    @cached_property
    def offsets(self) -> IntArray:
        """First box of every image, [P + 1]."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.lengths)])

    @property
    def boxes(self) -> NDArray[np.float32]:
        """The boxes of all images as fractions, one image after the other."""
        return self.given.boxes

    def regions(self, images: IntArray) -> Regions:
        """The boxes of images, whose features the model makes, [R, 0]."""
        return self.given.regions(images)

    def images(self, images: IntArray) -> Images:
        """The pixels of pictures.

        Raises:
            UserError: a picture is broken; the message names it.
        """
        return self.pictures.images(self._pictured(images))

    def files(self, images: IntArray) -> list[Path]:
        """The files of pictures."""
        return self.pictures.files(self._pictured(images))

    def _pictured(self, images: IntArray) -> IntArray:
        """The place in the folder of every image."""
        return self.pictures.places_of(self.given.names[place] for place in images.tolist())

    def _shows(self, name: str) -> bool:
        return name in self.pictures.places


@dataclass(frozen=True, eq=False)
class FileBoxes:
    """Boxes that are read from files image by image, with masks where these outline the objects.

    Args:
        pictures: whose sizes turn pixels into fractions.
        names: of the images, [P].
        lengths: number of boxes of every image, [P].
        read: boxes of the image at a place.
    """

    pictures: PictureFolder
    names: Sequence[str]
    lengths: IntArray
    read: Callable[[int], PictureBoxes]
    _kept: dict[int, Fractions] = field(default_factory=dict, repr=False)

    @cached_property
    def boxes(self) -> NDArray[np.float32]:
        """The boxes of all images as fractions, one image after the other."""
        return np.concatenate([self._of(place)[0] for place in range(len(self.names))])

    def regions(self, images: IntArray) -> Regions:
        """The boxes of images, and masks where any image has some."""
        found = [self._of(place) for place in images.tolist()]
        boxes = torch.from_numpy(np.concatenate([np.zeros((0, 4), np.float32), *(boxes for boxes, _ in found)]))
        masks = None
        if any(cut is not None for _, cut in found):
            filled = [np.ones((len(boxes), 14, 14), np.float32) if cut is None else cut for boxes, cut in found]
            masks = torch.from_numpy(np.concatenate(filled))
        layout = SequenceLayout(tuple(len(boxes) for boxes, _ in found))
        return Regions(boxes.new_zeros(len(boxes), 0), boxes, layout, object_masks=masks)

    def _of(self, place: int) -> Fractions:
        if place not in self._kept:
            if len(self._kept) >= KEPT:
                self._kept.clear()
            self._kept[place] = self._fractions(place)
        return self._kept[place]

    def _fractions(self, place: int) -> Fractions:
        found = self.read(place)
        if len(found.boxes) != self.lengths[place]:
            raise UserError(
                f"image {self.names[place]} has {len(found.boxes)} boxes, but {self.lengths[place]} objects"
            )
        (picture,) = self.pictures.places_of([self.names[place]]).tolist()
        width, height = picture_size(self.pictures.folder / self.pictures.names[picture])
        sides = np.array([width, height, width, height], dtype=np.float32)
        boxes = np.array(found.boxes, dtype=np.float32).reshape(-1, 4) / sides
        if len(boxes) and (boxes.min() < 0 or boxes.max() > 1.01):
            raise UserError(
                f"a box of image {self.names[place]} reaches outside of its {width} x {height} pixels; boxes are "
                "x1, y1, x2, y2 in pixels of the picture"
            )
        masks = None
        if found.outlines is not None and found.boxes:
            masks = np.stack([object_mask(*one) for one in zip(found.boxes, found.outlines, strict=True)])
        return boxes.clip(0, 1), masks


def listed_boxes(path: Path, pictures: PictureFolder) -> FileBoxes:
    """Boxes of a file of :func:`~mm_kptm.data.formats.vision.boxes.read_boxes`, about the pictures of a folder."""
    found = read_boxes(path)
    lengths = np.array([len(one.boxes) for one in found], dtype=np.int64)
    return FileBoxes(pictures, [one.image for one in found], lengths, found.__getitem__)
