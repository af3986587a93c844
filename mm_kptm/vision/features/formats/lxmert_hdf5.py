"""HDF5 with one group per image, as written by VOLTA's ``tsv_to_h5`` from LXMERT's TSV."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from mm_kptm.errors import UserError
from mm_kptm.vision.features.detections import Detections
from mm_kptm.vision.features.formats.files import unfinished, whole
from mm_kptm.vision.features.formats.format import Add, Format

#: Column name in the file, dtype, and column of ``Detections``.
_COLUMNS = (
    ("obj_id", "<i8", "object_ids"),
    ("obj_conf", "<f4", "object_confidences"),
    ("attr_id", "<i8", "attribute_ids"),
    ("attr_conf", "<f4", "attribute_confidences"),
)


def read(path: Path) -> Iterator[Detections]:
    """Read images in the order of their names.

    Raises:
        UserError: the file is damaged, or a group lacks a dataset.
    """
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise UserError(f"{path} cannot be read as HDF5: {error}") from None
    with file:
        for image in file:
            group, where = file[image], f"{path}, image {image!r}"
            try:
                yield Detections(
                    str(image),
                    group["features"][()],
                    group["boxes"][()],
                    (whole(group["img_w"][()], "img_w", where), whole(group["img_h"][()], "img_h", where)),
                    **{ours: group[theirs][()] for theirs, _, ours in _COLUMNS if theirs in group},
                )
            except (KeyError, OSError) as error:
                raise UserError(f"{where} cannot be read: {error}") from None


@contextmanager
def write(path: Path) -> Iterator[Add]:
    """Write images to a new file; missing columns are left out of the group."""
    with unfinished(path) as part, h5py.File(part, "w") as file:

        def add(image: Detections) -> None:
            width, height = image.require("size", "LXMERT's HDF5")
            if image.image in file:
                raise UserError(f"image {image.image!r} comes twice")
            group = file.create_group(image.image)
            group["features"] = np.asarray(image.features, "<f4")
            group["boxes"] = np.asarray(image.pixel_boxes(), "<f4")
            group["img_w"], group["img_h"] = width, height
            for theirs, kind, ours in _COLUMNS:
                if (value := getattr(image, ours)) is not None:
                    group[theirs] = np.asarray(value, kind)

        yield add


def is_hdf5(path: Path) -> bool:
    """Whether a file is HDF5 with groups at the top level."""
    if not path.is_file() or not h5py.is_hdf5(path):
        return False
    with h5py.File(path, "r") as file:
        return bool(len(file)) and isinstance(file[next(iter(file))], h5py.Group)


LXMERT_HDF5 = Format(
    "lxmert-hdf5",
    "HDF5, one group per image (LXMERT and VOLTA)",
    keeps=frozenset({"size", *(ours for *_, ours in _COLUMNS)}),
    recognises=is_hdf5,
    read=read,
    write=write,
)
