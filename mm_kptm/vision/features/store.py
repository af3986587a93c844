"""Native store of region features, memory-mapped: reading.

A store is a folder with

- ``features.npy``: float16, the regions of all images concatenated, [R, F];
- ``boxes.npy``: float32, x1 y1 x2 y2 as fractions of the image, [R, 4];
- ``index.json``: ``{"images": [[name, number of regions], ...]}`` in the order of the regions;
- optional detector outputs: ``class_probs.npy`` and ``attribute_probs.npy`` (float16), ``object_ids.npy`` and
  ``attribute_ids.npy`` (int32), ``object_confidences.npy``, ``attribute_confidences.npy`` and ``confidences.npy``
  (float32), ``object_names.npy`` (int32 indices into ``names.json``), ``sizes.npy`` (int32 width and height of every
  image), ``contract.json``.

Maps are read-only and shared: all worker processes use one copy in the page cache. :mod:`.store_writer` writes it.

Shapes: P images, R regions, N regions of one image, F features, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mm_kptm.errors import UserError
from mm_kptm.io.arrays import read_array
from mm_kptm.io.records import Record, expected, read_json
from mm_kptm.vision.features.contract import CONTRACT, FeatureContract, read_contract
from mm_kptm.vision.features.detections import Array, Detections

FEATURES, BOXES, INDEX = "features.npy", "boxes.npy", "index.json"
SIZES, NAMES = "sizes.npy", "names.json"
#: Dtype of each optional column, and whether it has a row of numbers or one number per region.
COLUMNS = {
    "class_probs": ("<f2", True),
    "object_ids": ("<i4", False),
    "object_confidences": ("<f4", False),
    "attribute_probs": ("<f2", True),
    "attribute_ids": ("<i4", False),
    "attribute_confidences": ("<f4", False),
    "confidences": ("<f4", False),
    "object_names": ("<i4", False),
}


class RegionStore:
    """Store opened for reading; features, boxes and detector outputs are memory-mapped.

    Args:
        folder: of the store.
        with_detections: whether models read what the detector said of every region, beside its feature and box.

    Raises:
        UserError: a file is missing, has another dtype or shape, or another number of regions than the index.
    """

    def __init__(self, folder: str | Path, *, with_detections: bool = False) -> None:
        self.folder = Path(folder)
        self.with_detections = with_detections
        self.features = self._array(FEATURES, np.float16)  #: [R, F]
        self.boxes = self._array(BOXES, np.float32)  #: [R, 4]
        names, counts = self._index()
        self.places = {name: index for index, name in enumerate(names)}  #: index of every image
        self.offsets = np.concatenate(
            [np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)]
        )  #: first region of every image, [P + 1]
        for name, array in ((FEATURES, self.features), (BOXES, self.boxes)):
            if len(array) != self.offsets[-1]:
                raise UserError(
                    f"{self.folder / name} holds {len(array)} regions, but {self.folder / INDEX} lists "
                    f"{self.offsets[-1]}; the store is torn, write it again"
                )
        self.names = names  #: image ids in order, P of them
        self.columns: dict[str, Array] = {}  #: optional columns by their names in ``Detections``, [R] or [R, C]
        for name, (kind, wide) in COLUMNS.items():
            if (column := self._column(f"{name}.npy", kind, 2 if wide else 1, int(self.offsets[-1]))) is not None:
                self.columns[name] = column
        self.sizes = self._column(SIZES, "<i4", 2, len(self))  #: width and height of every image, [P, 2], or None

    def __len__(self) -> int:
        """Number of images."""
        return len(self.places)

    @property
    def dim(self) -> int:
        """Feature size, F."""
        return int(self.features.shape[1])

    def __reduce__(self) -> tuple[Callable[[Path], Self], tuple[Path]]:
        """Send the folder to another process, which maps the same pages of memory; arrays would be copied."""
        return partial(type(self), with_detections=self.with_detections), (self.folder,)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of regions of every image, [P]."""
        return np.diff(self.offsets)

    def places_of(self, images: Iterable[str]) -> NDArray[np.int64]:
        """Indices of images by name.

        Raises:
            UserError: an image is not in the store.
        """
        indices = []
        for image in images:
            if image not in self.places:
                raise UserError(f"{self.folder} has no regions of image {image!r}; it holds {len(self)} images")
            indices.append(self.places[image])
        return np.array(indices, dtype=np.int64)

    @cached_property
    def vocabulary(self) -> list[str]:
        """Names of the classes that ``object_names.npy`` numbers; empty where none are stored."""
        words = self.folder / NAMES
        return _names(words) if words.is_file() else []

    @property
    def contract(self) -> FeatureContract | None:
        """Contract of the features, if the store has one."""
        return read_contract(self.folder / CONTRACT) if (self.folder / CONTRACT).is_file() else None

    def image(self, place: int) -> Detections:
        """Record of the image at an index; arrays are views of the memory map, boxes are fractions."""
        rows = slice(int(self.offsets[place]), int(self.offsets[place + 1]))
        columns: dict[str, Any] = {name: array[rows] for name, array in self.columns.items()}
        size = None if self.sizes is None else (int(self.sizes[place, 0]), int(self.sizes[place, 1]))
        return detections(self.names[place], self.features[rows], self.boxes[rows], size, columns, self.vocabulary)

    def _array(self, name: str, kind: type[np.generic]) -> Array:
        file = self.folder / name
        if not file.is_file():
            raise UserError(f"region features were looked for in {self.folder}, but {file} is not there")
        array: Array = read_array(file, mmap=True)
        if array.dtype != kind or array.ndim != 2 or (name == BOXES and array.shape[1] != 4):
            raise UserError(
                f"{file} must hold {np.dtype(kind)} rows of {'4' if name == BOXES else 'features'}, but it holds "
                f"{array.dtype} of shape {list(array.shape)}"
            )
        return array

    def _index(self) -> tuple[list[str], list[int]]:
        file = self.folder / INDEX
        if not file.is_file():
            raise UserError(f"region features were looked for in {self.folder}, but {file} is not there")
        listed = Record.of(read_json(file), str(file)).get("images", list)
        names: dict[str, int] = {}
        for number, pair in enumerate(listed):
            if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[0], str | int):
                raise UserError(f'{file} must hold {{"images": [[name, number of regions], ...]}}')
            name, count = str(pair[0]), expected(pair[1], int, f"{file}, images[{number}]: the number of regions")
            if not 0 <= count <= len(self.features):
                raise UserError(
                    f"{file}, images[{number}]: {name!r} has {count} regions of {len(self.features)}; the store is "
                    "torn, write it again"
                )
            if name in names:
                raise UserError(f"{file} lists image {name!r} twice")
            names[name] = count
        return list(names), list(names.values())

    def _column(self, name: str, kind: str, ndim: int, rows: int) -> Array | None:
        file = self.folder / name
        if not file.is_file():
            return None
        array: Array = read_array(file, mmap=True)
        if array.dtype != np.dtype(kind) or array.ndim != ndim or len(array) != rows:
            raise UserError(
                f"{file} must hold {rows} rows of {np.dtype(kind)}, but it holds {array.dtype} of shape "
                f"{list(array.shape)}; the store is torn, write it again"
            )
        return array


def _names(path: Path) -> list[str]:
    listed = read_json(path)
    if not isinstance(listed, list):
        raise UserError(f"{path} must hold a list of names; the store is torn, write it again")
    return [expected(name, str, f"{path}[{number}]") for number, name in enumerate(listed)]


def detections(
    image: str, features: Array, boxes: Array, size: tuple[int, int] | None, columns: dict[str, Any], words: list[str]
) -> Detections:
    """Build the record of an image from the arrays of a store; name indices become strings."""
    if (indices := columns.get("object_names")) is not None:
        try:
            columns["object_names"] = tuple(words[index] for index in indices)
        except IndexError:
            raise UserError(f"the regions of image {image!r} have names that {NAMES} does not list") from None
    return Detections(image, features, boxes, size, fractions=True, **columns)
