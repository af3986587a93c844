"""Bottom-up-attention TSV (Anderson et al. 2018): id, WIDTH, HEIGHT, number of boxes, boxes, features."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mm_kptm.vision.features.detections import Detections, image_number
from mm_kptm.vision.features.formats.files import decode, encode, first_row, rows, unfinished, whole
from mm_kptm.vision.features.formats.format import Add, Format

COLUMNS = ("image_id", "image_w", "image_h", "num_boxes", "boxes", "features")


def read(path: Path) -> Iterator[Detections]:
    """Read images; ids are integers as strings."""
    for where, row in rows(path, COLUMNS):
        count = whole(row["num_boxes"], "num_boxes", where)
        yield Detections(
            row["image_id"],
            decode(row["features"], "<f4", count, "features", where, dim=-1),
            decode(row["boxes"], "<f4", count, "boxes", where, dim=4),
            (whole(row["image_w"], "image_w", where), whole(row["image_h"], "image_h", where)),
        )


@contextmanager
def write(path: Path) -> Iterator[Add]:
    """Write images to a new file; an id is reduced to the number at its end."""
    with unfinished(path) as part, part.open("w", encoding="utf-8", newline="") as file:

        def add(image: Detections) -> None:
            width, height = image.require("size", "the bottom-up TSV")
            boxes, features = encode(image.pixel_boxes(), "<f4"), encode(image.features, "<f4")
            values = (image_number(image.image), width, height, len(image), boxes, features)
            file.write("\t".join(map(str, values)) + "\r\n")  # line ends of the release's csv writer

        yield add


BOTTOM_UP_TSV = Format(
    "bottom-up-tsv",
    "tab-separated: id, width, height, boxes and features in base64",
    keeps=frozenset({"size"}),
    recognises=lambda path: len(first_row(path)) == len(COLUMNS),
    read=read,
    write=write,
)
