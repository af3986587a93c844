"""UNITER's files (Chen et al. 2020): one npz per image, and the LMDB built from them with fewer boxes.

float16 on disk. ``norm_bb`` is x1 y1 x2 y2 w h as fractions, ``conf`` the NMS confidence [N, 1], decreasing.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mm_kptm.errors import UserError
from mm_kptm.io.atomic import write_json
from mm_kptm.vision.features.detections import OPTIONAL, Array, Detections
from mm_kptm.vision.features.formats.files import load_npz, unfinished
from mm_kptm.vision.features.formats.format import Add, Format
from mm_kptm.vision.features.formats.lmdb_files import first_item, is_lmdb, items, value_of, writer
from mm_kptm.vision.features.msgpack_maps import pack_arrays, unpack

KEYS = b"__keys__"
#: ``feat_th0.2_max100_min10``, ``feat_numbb36``, ``all``; each with or without ``_compressed``.
_FOLDER = re.compile(
    r"(?:feat_th(?P<th>[\d.]+)_max(?P<max>\d+)_min(?P<min>\d+)|feat_numbb(?P<fixed>\d+)|all)(?P<zip>_compressed)?"
)


def from_arrays(name: str, arrays: Mapping[str, Array], where: str) -> Detections:
    """Image from UNITER's arrays; ``name`` is the name of the npz file."""
    try:
        return Detections(
            name.removesuffix(".npz"),
            arrays["features"],
            arrays["norm_bb"][:, :4],
            None,
            fractions=True,
            class_probs=arrays.get("soft_labels"),
            confidences=arrays["conf"].reshape(-1) if "conf" in arrays else None,
        )
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise UserError(f"{where} lacks an array of UNITER's, or it is of another shape: {error}") from None


def to_arrays(image: Detections) -> dict[str, Array]:
    """Convert an image to UNITER's arrays, float16."""
    boxes = image.fraction_boxes().astype(np.float32)
    arrays = {"norm_bb": np.hstack([boxes, boxes[:, 2:] - boxes[:, :2]]), "features": image.features}
    if image.confidences is not None:
        arrays["conf"] = image.confidences[:, None]
    if image.class_probs is not None:
        arrays["soft_labels"] = image.class_probs
    return {name: array.astype("<f2") for name, array in arrays.items()}


def read_npz(path: Path) -> Iterator[Detections]:
    """Read images from a folder of npz files, in the order of their names."""
    for file in sorted(path.glob("*.npz")):
        yield from_arrays(file.name, load_npz(file.read_bytes(), str(file)), str(file))


@contextmanager
def write_npz(path: Path) -> Iterator[Add]:
    """Write images to a new folder, one compressed npz each."""
    with unfinished(path, folder=True) as part:

        def add(image: Detections) -> None:
            file = part / f"{_flat(image.image)}.npz"
            if file.exists():
                raise UserError(f"image {image.image!r} comes twice")
            np.savez_compressed(file, **to_arrays(image))  # type: ignore[arg-type]  # numpy gives all keywords one type

        yield add


def read_lmdb(path: Path) -> Iterator[Detections]:
    """Read images from an LMDB of MessagePack maps or npz bytes, in key order."""
    for key, value in items(path, frozenset({KEYS})):
        where = f"{path}, key {key.decode(errors='replace')!r}"
        arrays: Any = load_npz(value, where) if value[:2] == b"PK" else unpack(value, where)
        if not isinstance(arrays, dict):
            raise UserError(f"{where} holds no map of arrays")
        yield from_arrays(key.decode(errors="replace"), arrays, where)


def num_boxes(confidences: Array, threshold: float, at_least: int, at_most: int) -> int:
    """Number of boxes that UNITER's converter selects: those above the threshold, within limits.

    >>> num_boxes(np.array([0.9, 0.5, 0.1, 0.1]), 0.2, 3, 100)
    3
    """
    return min(max(at_least, int((confidences > threshold).sum())), at_most, len(confidences))


@contextmanager
def write_lmdb(path: Path) -> Iterator[Add]:
    """Write images to a new LMDB; its name gives the selection of boxes, as in ``feat_th0.2_max100_min10``.

    Raises:
        UserError: the folder has another name, or the selection needs confidences that an image lacks.
    """
    rule = _FOLDER.fullmatch(path.name)
    if rule is None:
        raise UserError(
            f"UNITER reads the number of boxes from the folder's name, and {path.name!r} says none; name it "
            "feat_th0.2_max100_min10, feat_numbb36 or all, with _compressed or without"
        )
    counts: dict[str, int] = {}

    def cut(image: Detections) -> Detections:
        if rule["fixed"]:
            return first(image, int(rule["fixed"]))
        if not rule["th"]:
            return image
        confidences = image.require("confidences", "UNITER's LMDB")
        return first(image, num_boxes(confidences, float(rule["th"]), int(rule["min"]), int(rule["max"])))

    def listed(keys: list[bytes]) -> tuple[bytes, bytes]:
        return KEYS, json.dumps([key.decode() for key in keys]).encode()

    with writer(path, listed) as put:

        def add(image: Detections) -> None:
            name = f"{_flat(image.image)}.npz"
            selected = cut(image)
            counts[name] = len(selected)
            arrays = to_arrays(selected)
            if rule["zip"]:
                buffer = io.BytesIO()
                np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # numpy gives all keywords one type
                put(name.encode(), buffer.getvalue())
            else:
                put(name.encode(), pack_arrays(arrays))

        yield add
    if rule["th"]:
        beside = path.parent / f"nbb_th{rule['th']}_max{rule['max']}_min{rule['min']}.json"
        write_json(beside, counts)


def first(image: Detections, count: int) -> Detections:
    """Image with its first ``count`` regions only."""
    columns = {name: getattr(image, name)[:count] for name in OPTIONAL if getattr(image, name) is not None}
    return replace(image, features=image.features[:count], boxes=image.boxes[:count], **columns)


def _flat(image: str) -> str:
    if "/" in image or image in ("", ".", ".."):
        raise UserError(f"image {image!r} cannot name a file of its own: it leads into another folder")
    return image


def _is_lmdb(path: Path) -> bool:
    return is_lmdb(path) and value_of(path, KEYS) is not None and first_item(path, frozenset({KEYS})) is not None


_KEEPS = frozenset({"class_probs", "confidences"})
UNITER_NPZ = Format(
    "uniter-npz",
    "a folder of npz files, one per image, float16 (UNITER)",
    keeps=_KEEPS,
    recognises=lambda path: path.is_dir() and next(path.glob("*.npz"), None) is not None,
    read=read_npz,
    write=write_npz,
    float16=True,
)
UNITER_LMDB = Format(
    "uniter-lmdb",
    "LMDB of MessagePack maps or npz, float16; the folder's name says how many boxes are kept (UNITER)",
    keeps=_KEEPS,
    recognises=_is_lmdb,
    read=read_lmdb,
    write=write_lmdb,
    float16=True,
)
