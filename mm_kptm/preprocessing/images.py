"""Folders of pictures as the images of examples: decoded and resized when a batch is made.

Shapes: P pictures of the folder, R cells of a batch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mm_kptm.batch import Images, Regions, SequenceLayout
from mm_kptm.data.images.decoding import picture_size, read_picture
from mm_kptm.data.images.folders import inside, pictures_in
from mm_kptm.errors import UserError
from mm_kptm.preprocessing.inputs import IntArray
from mm_kptm.vision.modules.pixels import PixelFormat, cell_boxes

KEPT_BYTES = 256 << 20  #: of resized pictures that stay in memory


@dataclass(frozen=True, eq=False)
class PictureFolder:
    """The pictures of a folder, by their place in the order of their names.

    A picture goes by its path in the folder, by the name of its file with or without ending, and by the number at its
    end (``123`` for ``COCO_val2014_000000000123.jpg``); where two share such a name, by its path alone.

    Args:
        folder: with the picture files, at any depth.
        format: how pictures become pixels, and how many cells they have.

    Raises:
        UserError: the folder is not there or holds no picture.
    """

    folder: Path
    format: PixelFormat
    _kept: dict[int, NDArray[np.uint8]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.names  # noqa: B018  # listed at once, so that a folder that is not there is said so at the start

    @cached_property
    def names(self) -> list[str]:
        """The paths of the pictures in the folder, in order, [P]."""
        return pictures_in(self.folder)

    @cached_property
    def places(self) -> dict[str, int]:
        """The place of every picture by each of its names."""
        known: dict[str, int | None] = {}
        for place, name in enumerate(self.names):
            for other in _aliases(name):
                known[other] = None if other in known else place
        known |= {name: place for place, name in enumerate(self.names)}
        return {name: place for name, place in known.items() if place is not None}

    def places_of(self, images: Iterable[str]) -> IntArray:
        """Places of pictures by name.

        Raises:
            UserError: a picture is not in the folder, or a name leads out of it; or its size is needed and cannot be
                read.
        """
        found = []
        for image in images:
            if image not in self.places:
                inside(self.folder, image)
                raise UserError(f"{self.folder} has no picture {image!r}; it holds {len(self.names)} pictures")
            found.append(self.places[image])
        if self.format.resize.longest is not None and self.format.grid is not None:
            for place in found:
                self._grid(place)
        return np.array(found, dtype=np.int64)

    @property
    def dim(self) -> int:
        """Features of a cell that the backbone makes."""
        return self.format.dim

    @cached_property
    def lengths(self) -> IntArray:
        """Number of cells of every picture, [P]; headers are read where pictures keep their shape.

        One whose header cannot be read has none: no example is about it, as :meth:`places_of` would have said.
        """
        if self.format.resize.longest is None:
            return np.full(len(self.names), int(np.prod(self._grid(0))), dtype=np.int64)
        return np.array([len(self._boxes(place)) for place in range(len(self.names))], dtype=np.int64)

    @cached_property
    def offsets(self) -> IntArray:
        """First cell of every picture among those of all, [P + 1]."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.lengths)])

    @cached_property
    def boxes(self) -> NDArray[np.float32]:
        """The boxes of the cells of all pictures, [cells, 4]."""
        return np.concatenate([self._boxes(place) for place in range(len(self.names))])

    def _boxes(self, place: int) -> NDArray[np.float32]:
        try:
            return cell_boxes(*self._grid(place)).numpy()
        except UserError:
            return np.zeros((0, 4), np.float32)

    def regions(self, images: IntArray) -> Regions:
        """The cells of pictures, whose features the model makes, [R, 0]."""
        grids = [self._grid(place) for place in images.tolist()]
        layout = SequenceLayout(tuple(rows * columns for rows, columns in grids))
        boxes = torch.cat([cell_boxes(*grid) for grid in grids]) if grids else torch.zeros(0, 4)
        return Regions(torch.zeros(layout.total, 0), boxes, layout)

    def images(self, images: IntArray) -> Images:
        """The pixels of pictures.

        Raises:
            UserError: a picture is broken; the message names it.
        """
        return Images.of([self._normalised(self._picture(place)) for place in images.tolist()])

    def files(self, images: IntArray) -> list[Path]:
        """The files of pictures."""
        return [self.folder / self.names[place] for place in images.tolist()]

    def _normalised(self, picture: NDArray[np.uint8]) -> Tensor:
        form = self.format.image_format
        values = torch.from_numpy(picture.astype(np.float32)) / 255
        return ((values - torch.tensor(form.mean)) / torch.tensor(form.std)).permute(2, 0, 1).contiguous()

    def _picture(self, place: int) -> NDArray[np.uint8]:
        """A resized picture; those that fit into memory stay there."""
        if place in self._kept:
            return self._kept[place]
        resized = self.format.resize(read_picture(self.folder / self.names[place]))
        if (len(self._kept) + 1) * resized.nbytes <= KEPT_BYTES:
            self._kept[place] = resized
        return resized

    def _grid(self, place: int) -> tuple[int, int]:
        resize, grid = self.format.resize, self.format.grid
        if grid is None:
            raise TypeError("the regions of these pictures are boxes, not cells")
        if resize.longest is None:
            return grid(resize.size, resize.size)
        if place not in self._grids:
            width, height = picture_size(self.folder / self.names[place])
            self._grids[place] = grid(*resize.output_size(height, width))
        return self._grids[place]

    @cached_property
    def _grids(self) -> dict[int, tuple[int, int]]:
        return {}


def find_picture(folder: Path, name: str) -> Path:
    """The file of a picture by any of the names of :class:`PictureFolder`.

    Raises:
        UserError: it is not in the folder, or the name leads out of it.
    """
    for one in pictures_in(folder):
        if name == one or name in _aliases(one):
            return folder / one
    inside(folder, name)
    raise UserError(f"{folder} has no picture {name!r}")


def _aliases(name: str) -> set[str]:
    """Shorter names of a picture."""
    path = Path(name)
    number = re.search(r"(\d+)$", path.stem)
    return {path.name, path.stem, *([str(int(number[1]))] if number else [])}
