"""LXMERT's TSV (Tan and Bansal 2019) and VOLTA's longer one: height before width, class ids without background.

Lines end in CR LF, as in the output of the official script's csv writer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from mm_kptm.vision.features.detections import Detections
from mm_kptm.vision.features.formats.files import decode, encode, first_row, rows, unfinished, whole
from mm_kptm.vision.features.formats.format import Add, Format

COLUMNS = (
    *("img_id", "img_h", "img_w", "objects_id", "objects_conf", "attrs_id", "attrs_conf"),
    *("num_boxes", "boxes", "features"),
)
LONG_COLUMNS = (*COLUMNS, "cls_prob", "attrs", "classes")


def from_fields(row: Mapping[str, Any], where: str, *, height: str = "img_h", width: str = "img_w") -> Detections:
    """Image from named fields; arrays are base64 or already decoded (VOLTA's LMDB has both)."""
    count = whole(row["num_boxes"], "num_boxes", where)

    def optional(name: str, kind: str, dim: int | None = None) -> Any:
        return decode(row[name], kind, count, name, where, dim=dim) if row.get(name) is not None else None

    return Detections(
        str(row.get("img_id", row.get("image_id", ""))),
        decode(row["features"], "<f4", count, "features", where, dim=-1),
        decode(row["boxes"], "<f4", count, "boxes", where, dim=4),
        (whole(row[width], width, where), whole(row[height], height, where)),
        class_probs=optional("cls_prob", "<f4", -1),
        object_ids=optional("objects_id", "<i8"),
        object_confidences=optional("objects_conf", "<f4"),
        attribute_probs=optional("attrs", "<f4", -1),
        attribute_ids=optional("attrs_id", "<i8"),
        attribute_confidences=optional("attrs_conf", "<f4"),
    )


def to_fields(image: Detections, target: str, *, long: bool = False) -> dict[str, str]:
    """Fields of an image as strings, arrays in base64; ``target`` names the format in messages."""
    width, height = image.require("size", target)
    fields = {
        "img_id": image.image,
        "img_h": str(height),
        "img_w": str(width),
        "objects_id": encode(image.require("object_ids", target), "<i8"),
        "objects_conf": encode(image.require("object_confidences", target), "<f4"),
        "attrs_id": encode(image.require("attribute_ids", target), "<i8"),
        "attrs_conf": encode(image.require("attribute_confidences", target), "<f4"),
        "num_boxes": str(len(image)),
        "boxes": encode(image.pixel_boxes(), "<f4"),
        "features": encode(image.features, "<f4"),
    }
    if long:
        fields |= {
            "cls_prob": encode(image.require("class_probs", target), "<f4"),
            "attrs": encode(image.require("attribute_probs", target), "<f4"),
            "classes": fields["objects_id"],
        }
    return fields


def read(path: Path, columns: tuple[str, ...] = COLUMNS) -> Iterator[Detections]:
    """Read the images of a file."""
    return (from_fields(row, where) for where, row in rows(path, columns))


@contextmanager
def _write(path: Path, *, long: bool) -> Iterator[Add]:
    with unfinished(path) as part, part.open("w", encoding="utf-8", newline="") as file:

        def add(image: Detections) -> None:
            file.write("\t".join(to_fields(image, "LXMERT's TSV", long=long).values()) + "\r\n")

        yield add


def write(path: Path) -> AbstractContextManager[Add]:
    """Write images to a new file of ten columns."""
    return _write(path, long=False)


def write_long(path: Path) -> AbstractContextManager[Add]:
    """Write images to a new file of thirteen columns; ``classes`` repeats the object ids."""
    return _write(path, long=True)


_KEEPS = frozenset({"size", "object_ids", "object_confidences", "attribute_ids", "attribute_confidences"})
LXMERT_TSV = Format(
    "lxmert-tsv",
    "tab-separated: id, HEIGHT, width, objects, attributes, boxes and features in base64",
    keeps=_KEEPS,
    recognises=lambda path: len(first_row(path)) == len(COLUMNS),
    read=read,
    write=write,
)
LXMERT_LONG_TSV = Format(
    "lxmert-long-tsv",
    "LXMERT's TSV with class and attribute distributions (VOLTA on Conceptual Captions)",
    keeps=_KEEPS | {"class_probs", "attribute_probs"},
    recognises=lambda path: len(first_row(path)) == len(LONG_COLUMNS),
    read=partial(read, columns=LONG_COLUMNS),
    write=write_long,
)
