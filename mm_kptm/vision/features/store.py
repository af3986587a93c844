"""Native store of region features, memory-mapped.

A store is a folder with

- ``features.npy``: float16, the regions of all images concatenated, [R, F];
- ``boxes.npy``: float32, x1 y1 x2 y2 as fractions of the image, [R, 4];
- ``index.json``: ``{"images": [[name, number of regions], ...]}`` in the order of the regions.

Shapes: P images, R regions, F features.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from mm_kptm.errors import UserError
from mm_kptm.io.arrays import read_array
from mm_kptm.io.atomic import write_json
from mm_kptm.io.records import Record, expected, read_json

FEATURES, BOXES, INDEX = "features.npy", "boxes.npy", "index.json"


class RegionStore:
    """Store opened for reading; features and boxes are memory-mapped.

    Raises:
        UserError: a file is missing, has another dtype or shape, or another number of regions than the index.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
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

    def __len__(self) -> int:
        """Number of images."""
        return len(self.places)

    @property
    def dim(self) -> int:
        """Feature size, F."""
        return int(self.features.shape[1])

    def __reduce__(self) -> tuple[type[Self], tuple[Path]]:
        """Send the folder to another process, which maps the same pages of memory; arrays would be copied."""
        return type(self), (self.folder,)

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

    def _array(self, name: str, kind: type[np.generic]) -> NDArray[np.generic]:
        file = self.folder / name
        if not file.is_file():
            raise UserError(f"region features were looked for in {self.folder}, but {file} is not there")
        array: NDArray[np.generic] = read_array(file, mmap=True)
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


class StoreWriter:
    """Writer of a store, image by image in constant memory; the index is written last.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> with StoreWriter(folder, dim=2) as writer:
    ...     writer.add("cat.jpg", np.ones((3, 2)), np.zeros((3, 4)))
    >>> RegionStore(folder).lengths.tolist()
    [3]
    """

    def __init__(self, folder: str | Path, *, dim: int) -> None:
        self.folder = Path(folder)
        self.dim = dim
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / INDEX).unlink(missing_ok=True)
        self._images: list[tuple[str, int]] = []
        self._seen: set[str] = set()
        self._files = [_Rows(self.folder / FEATURES, dim, "<f2"), _Rows(self.folder / BOXES, 4, "<f4")]

    def add(self, image: str, features: NDArray[np.floating], boxes: NDArray[np.floating]) -> None:
        """Write the regions of one image, features [N, F] and boxes [N, 4].

        Raises:
            UserError: wrong shapes, features not finite as float16, boxes not fractions, or a duplicate image.
        """
        if features.shape != (len(boxes), self.dim) or boxes.shape[1:] != (4,):
            raise UserError(
                f"the regions of image {image!r} have features of shape {list(features.shape)} and boxes of shape "
                f"{list(boxes.shape)}; [n, {self.dim}] and [n, 4] were expected"
            )
        if image in self._seen:
            raise UserError(f"the regions of image {image!r} were added twice")
        with np.errstate(over="ignore"):
            small = features.astype("<f2")
        if not np.isfinite(small).all():
            raise UserError(f"the features of image {image!r} are not all finite numbers below 65504")
        if len(boxes) and not (np.isfinite(boxes).all() and boxes.min() >= 0 and boxes.max() <= 1):
            raise UserError(f"the boxes of image {image!r} must be fractions of the image, between 0 and 1")
        for file, rows in zip(self._files, (small, boxes.astype("<f4")), strict=True):
            file.append(rows)
        self._seen.add(image)
        self._images.append((image, len(boxes)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files:
            file.close()
        if kind is None:
            write_json(self.folder / INDEX, {"images": self._images})


class _Rows:
    """Appendable ``.npy`` file; numpy pads the header for the number of rows."""

    def __init__(self, path: Path, width: int, kind: str) -> None:
        self._file: BinaryIO = path.open("wb")
        self._width = width
        self._kind = kind
        self._count = 0
        self._header()
        self._start = self._file.tell()

    def append(self, rows: NDArray[np.generic]) -> None:
        self._file.write(np.ascontiguousarray(rows).tobytes())
        self._count += len(rows)

    def close(self) -> None:
        self._file.seek(0)
        self._header()
        if self._file.tell() != self._start:
            raise RuntimeError(f"the header of {self._file.name} grew with the number of rows")
        self._file.close()

    def _header(self) -> None:
        described = {"descr": self._kind, "fortran_order": False, "shape": (self._count, self._width)}
        np.lib.format.write_array_header_1_0(self._file, described)


def write_store(
    folder: str | Path, images: Sequence[tuple[str, NDArray[np.floating], NDArray[np.floating]]]
) -> RegionStore:
    """Write a store of (name, features [N, F], boxes [N, 4]); ``UserError`` if empty, or as :class:`StoreWriter`."""
    if not images:
        raise UserError(f"no image was given to write into {folder}")
    with StoreWriter(folder, dim=images[0][1].shape[1]) as writer:
        for name, features, boxes in images:
            writer.add(name, features, boxes)
    return RegionStore(folder)
