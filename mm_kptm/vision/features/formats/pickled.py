"""LMDBs and npy files of pickled records (ViLBERT, VOLTA, ERNIE-ViL), read without executing pickles.

ViLBERT stores arrays; VOLTA stores the rows of LXMERT's TSV as strings; ERNIE-ViL names the sizes ``image_h`` and
``image_w``. Every reader accepts strings or arrays.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mm_kptm.errors import UserError
from mm_kptm.io.safe_pickle import load_npy, loads
from mm_kptm.vision.features.detections import Detections, image_number
from mm_kptm.vision.features.formats.files import decode, unfinished, whole
from mm_kptm.vision.features.formats.format import Add, Format
from mm_kptm.vision.features.formats.lmdb_files import first_item, items, writer
from mm_kptm.vision.features.formats.lxmert_tsv import from_fields, to_fields

KEYS = frozenset({b"keys"})
PROTOCOL = 3  #: pickle protocol of the official writers


def read_npy(path: Path) -> Iterator[Detections]:
    """Read images from a folder of npy files, in the order of their names."""
    for file in sorted(path.glob("*.npy")):
        record = load_npy(file)
        if not isinstance(record, dict):
            raise UserError(f"{file} holds a {type(record).__name__}, not the record of an image")
        yield _vilbert(
            {"image_h": record.get("image_height"), "image_w": record.get("image_width")} | record, str(file)
        )


def _vilbert(record: Mapping[str, Any], where: str) -> Detections:
    try:
        count = whole(record["num_boxes"], "num_boxes", where)
        boxes = record["bbox"] if "bbox" in record else record["boxes"]
        classes, objects = record.get("cls_prob"), record.get("objects")
        # the official script's ``objects`` are one row short: used only if they fit
        fits = objects is not None and len(objects) == count
        return Detections(
            str(record["image_id"]),
            decode(record["features"], "<f4", count, "features", where, dim=-1),
            decode(boxes, "<f4", count, "boxes", where, dim=4),
            (whole(record["image_w"], "image_w", where), whole(record["image_h"], "image_h", where)),
            class_probs=None if classes is None else decode(classes, "<f4", count, "cls_prob", where, dim=-1),
            object_ids=objects if fits else None,
        )
    except KeyError as error:
        raise UserError(f"{where} has no {error}, which the record of an image needs") from None


@contextmanager
def write_npy(path: Path) -> Iterator[Add]:
    """Write images to a new folder, one npy each."""
    with unfinished(path, folder=True) as part:

        def add(image: Detections) -> None:
            width, height = image.require("size", "ViLBERT's npy")
            if "/" in image.image or (part / f"{image.image}.npy").exists():
                raise UserError(f"image {image.image!r} comes twice, or leads into another folder")
            record: dict[str, Any] = {"bbox": image.pixel_boxes().astype("<f4"), "num_boxes": len(image)}
            if image.object_ids is not None:
                record["objects"] = image.object_ids.astype("<i8")
            record |= {"image_width": width, "image_height": height}
            if image.class_probs is not None:
                record["cls_prob"] = image.class_probs.astype("<f4")
            record |= {"image_id": image.image, "features": image.features.astype("<f4")}
            np.save(part / f"{image.image}.npy", np.array(record, dtype=object), allow_pickle=True)

        yield add


def read_lmdb(path: Path) -> Iterator[Detections]:
    """Read images from an LMDB of pickled records, in key order."""
    for key, value in items(path, KEYS):
        where = f"{path}, key {key.decode(errors='replace')!r}"
        record = _record(value, where)
        try:
            if "img_h" in record:
                yield from_fields(record, where)
            elif isinstance(record.get("features"), str):
                yield from_fields(record, where, height="image_h", width="image_w")
            else:
                yield _vilbert(record, where)
        except KeyError as error:
            raise UserError(f"{where} has no {error}, which the record of an image needs") from None


def _record(value: bytes, where: str) -> dict[str, Any]:
    record = loads(value, where)
    if not isinstance(record, dict):
        raise UserError(f"{where} holds a {type(record).__name__}, not the record of an image")
    return {_text(name): _text(item) for name, item in record.items()}


def _text(value: Any) -> Any:
    """Decode bytes: Python 2 and 3 wrote str and bytes for each other."""
    return value.decode("latin1") if isinstance(value, bytes) else value


def _vilbert_item(image: Detections) -> tuple[str, dict[str, Any]]:
    width, height = image.require("size", "ViLBERT's LMDB")
    record = {
        "image_id": image.image,
        "image_h": height,
        "image_w": width,
        "num_boxes": len(image),
        "boxes": image.pixel_boxes().astype("<f4"),
        "features": image.features.astype("<f4"),
    }
    return image.image, record


def _volta_item(image: Detections) -> tuple[str, dict[str, Any]]:
    coco = image.image.startswith("COCO_")
    long = image.class_probs is not None and image.attribute_probs is not None
    fields: dict[str, Any] = to_fields(image, "VOLTA's LMDB", long=long)
    missing = {} if long else dict.fromkeys(("cls_prob", "attrs", "classes"))  # as in the official rows
    return str(image_number(image.image)) if coco else image.image, fields | missing


def _ernie_vil_item(image: Detections) -> tuple[str, dict[str, Any]]:
    renamed = {"img_id": "image_id", "img_h": "image_h", "img_w": "image_w"}
    fields = to_fields(image, "ERNIE-ViL's LMDB")
    return image.image, {renamed.get(name, name): value for name, value in fields.items()}


@contextmanager
def _write(path: Path, item: Any) -> Iterator[Add]:
    with writer(path, lambda keys: (b"keys", pickle.dumps(keys, PROTOCOL))) as put:

        def add(image: Detections) -> None:
            key, record = item(image)
            put(key.encode(), pickle.dumps(record, PROTOCOL))

        yield add


def write_vilbert(path: Path) -> AbstractContextManager[Add]:
    """Write images to a new LMDB in ViLBERT's format: arrays, keyed by image id."""
    return _write(path, _vilbert_item)


def write_volta(path: Path) -> AbstractContextManager[Add]:
    """Write images to a new LMDB in VOLTA's format: strings, keyed by image id (COCO: by number)."""
    return _write(path, _volta_item)


def write_ernie_vil(path: Path) -> AbstractContextManager[Add]:
    """Write images to a new LMDB in ERNIE-ViL's format: strings."""
    return _write(path, _ernie_vil_item)


def _holds(kind: str, path: Path) -> bool:
    item = first_item(path, KEYS)
    if item is None or item[1][:1] != b"\x80":
        return False
    try:
        record = _record(item[1], str(path))
    except UserError:
        return kind == "vilbert"  # some reader must report what is wrong with it
    if "img_h" in record:
        return kind == "volta"
    return kind == ("ernie-vil" if isinstance(record.get("features"), str) else "vilbert")


_IDS = frozenset({"size", "object_ids", "object_confidences", "attribute_ids", "attribute_confidences"})
VILBERT_NPY = Format(
    "vilbert-npy",
    "a folder of npy files, one pickled record per image (ViLBERT, 12-in-1)",
    keeps=frozenset({"size", "class_probs", "object_ids"}),
    recognises=lambda path: (
        path.is_dir() and not (path / "index.json").exists() and next(path.glob("*.npy"), None) is not None
    ),
    read=read_npy,
    write=write_npy,
)
VILBERT_LMDB = Format(
    "vilbert-lmdb",
    "LMDB of pickled records with arrays (ViLBERT, 12-in-1)",
    keeps=frozenset({"size"}),
    recognises=partial(_holds, "vilbert"),
    read=read_lmdb,
    write=write_vilbert,
)
VOLTA_LMDB = Format(
    "volta-lmdb",
    "LMDB of pickled TSV rows, arrays in base64 (VOLTA)",
    keeps=_IDS | {"class_probs", "attribute_probs"},
    recognises=partial(_holds, "volta"),
    read=read_lmdb,
    write=write_volta,
)
ERNIE_VIL_LMDB = Format(
    "ernie-vil-lmdb",
    "LMDB of pickled rows with image_h and image_w, arrays in base64 (ERNIE-ViL)",
    keeps=_IDS,
    recognises=partial(_holds, "ernie-vil"),
    read=read_lmdb,
    write=write_ernie_vil,
)
