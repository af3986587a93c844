"""VLP's HDF5 files (Zhou et al. 2020): features and classes sharded by the last three characters of the id.

A folder with ``<prefix>_feat<abc>.h5``, ``<prefix>_cls<abc>.h5`` and one ``<prefix>_bbox.h5``, each with one dataset
per image; a box is x1 y1 x2 y2, an unused number, and its confidence. Image sizes are not stored.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from mm_kptm.errors import UserError
from mm_kptm.vision.features.detections import Detections
from mm_kptm.vision.features.formats.files import unfinished
from mm_kptm.vision.features.formats.format import Add, Format

PREFIX = "regions"  #: prefix of written files
TAIL = 3  #: last characters of the id that select the file
OPEN = 64  #: most files open while writing


def read(path: Path) -> Iterator[Detections]:
    """Read the images of a folder, file by file.

    Raises:
        UserError: a file is missing or damaged, or lacks an image.
    """
    boxes_file = next(iter(sorted(path.glob("*bbox*.h5"))), None)
    if boxes_file is None:
        raise UserError(f"{path} has no file *bbox*.h5 with the boxes")
    with _opened(boxes_file) as boxes:
        for file in sorted(path.glob("*_feat*.h5")):
            classes_file = file.with_name("_cls".join(file.name.rsplit("_feat", 1)))
            with _opened(file) as features, _opened(classes_file) as classes:
                for image in features:
                    if image not in boxes or image not in classes:
                        raise UserError(f"{file} has features of image {image!r}, but its boxes or classes are missing")
                    table = boxes[image][()]
                    if table.ndim != 2 or table.shape[1] < 6:
                        raise UserError(f"{boxes_file}: the boxes of image {image!r} must have 6 numbers each")
                    yield Detections(
                        str(image),
                        features[image][()],
                        table[:, :4],
                        None,
                        class_probs=classes[image][()],
                        confidences=table[:, 5],
                    )


def _opened(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise UserError(f"{path} cannot be read as HDF5: {error}") from None


class _Files:
    """HDF5 files opened for writing on demand, few at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: OrderedDict[str, h5py.File] = OrderedDict()

    def __getitem__(self, name: str) -> h5py.File:
        if name not in self._open:
            if len(self._open) >= OPEN:
                self._open.popitem(last=False)[1].close()
            self._open[name] = h5py.File(self._folder / name, "a")
        self._open.move_to_end(name)
        return self._open[name]

    def close(self) -> None:
        for file in self._open.values():
            file.close()


@contextmanager
def write(path: Path) -> Iterator[Add]:
    """Write images to a new folder."""
    with unfinished(path, folder=True) as part:
        files = _Files(part)

        def add(image: Detections) -> None:
            name = image.image
            if not name or os.sep in name:
                raise UserError(f"image {name!r} cannot name a data set")
            boxes = np.zeros((len(image), 6), "<f4")
            boxes[:, :4] = image.pixel_boxes()
            boxes[:, 5] = image.require("confidences", "VLP's HDF5")
            if name in files[f"{PREFIX}_bbox.h5"]:
                raise UserError(f"image {name!r} comes twice")
            files[f"{PREFIX}_bbox.h5"][name] = boxes
            files[f"{PREFIX}_feat{name[-TAIL:]}.h5"][name] = image.features.astype("<f4")
            classes = image.require("class_probs", "VLP's HDF5").astype("<f4")
            files[f"{PREFIX}_cls{name[-TAIL:]}.h5"][name] = classes

        try:
            yield add
        finally:
            files.close()


VLP_HDF5 = Format(
    "vlp-hdf5",
    "a folder of HDF5 files for features, classes and boxes (VLP)",
    keeps=frozenset({"class_probs", "confidences"}),
    recognises=lambda path: path.is_dir() and next(path.glob("*_feat*.h5"), None) is not None,
    read=read,
    write=write,
)
