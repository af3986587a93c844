"""Boxes of objects in pictures, with the polygons that outline them: lines of JSON, and the files of VCR.

Shapes: N objects of a picture, H x W cells of a mask.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mm_kptm.errors import UserError
from mm_kptm.io.collected import collected
from mm_kptm.io.records import Json, Record, each_record, once, read_json, shown

Corners = tuple[float, float, float, float]
Polygon = tuple[tuple[float, float], ...]  #: corners x, y of an outline


@dataclass(frozen=True)
class PictureBoxes:
    """Boxes of one picture, in its pixels."""

    image: str
    boxes: tuple[Corners, ...]  #: x1 y1 x2 y2, N of them
    outlines: tuple[tuple[Polygon, ...], ...] | None = None  #: polygons of each object; None: the boxes alone are known


@collected
def read_boxes(path: str | Path) -> Iterator[PictureBoxes]:
    """Lines such as ``{"image": "a.jpg", "boxes": [[x1, y1, x2, y2], ...]}``, optionally with ``segms``.

    ``segms`` holds the polygons of each box, each a list of ``[x, y]``. All numbers are pixels of the picture.

    Raises:
        UserError: the file cannot be read, a picture is there twice, or boxes and polygons are not as above.
    """
    seen: dict[str, str] = {}
    for entry in each_record(path):
        image = entry.text("image")
        once(image, entry.place, seen, "the image")
        yield _picture(entry, image)


def read_vcr_metadata(path: str | Path) -> PictureBoxes:
    """The JSON file beside a picture of VCR: ``boxes`` with a score behind each, and ``segms``.

    Raises:
        UserError: as :func:`read_boxes`.
    """
    return _picture(Record.of(read_json(path), str(path)), Path(path).stem)


def object_mask(box: Corners, polygons: Sequence[Polygon], height: int = 14, width: int = 14) -> NDArray[np.float32]:
    """1 where the middle of a cell of the box lies in one of the polygons, else 0, [H, W].

    The rule of VCR's released code (Zellers et al. 2019); inside is where a ray to the right crosses an odd number of
    edges.
    """
    left, top, right, bottom = box
    x = left + (np.arange(width) + 0.5) * (right - left) / width
    y = top + (np.arange(height) + 0.5) * (bottom - top) / height
    found = np.zeros((height, width), dtype=bool)
    for polygon in polygons:
        corners = np.array(polygon, dtype=np.float64).reshape(-1, 2)
        inside = np.zeros((height, width), dtype=bool)
        for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            if y1 == y2:
                continue
            spans = (y1 > y) != (y2 > y)
            crossing = x1 + (y - y1) * (x2 - x1) / (y2 - y1)
            inside ^= spans[:, None] & (x[None] < crossing[:, None])
        found |= inside
    return found.astype(np.float32)


def _picture(entry: Record, image: str) -> PictureBoxes:
    boxes = tuple(
        _corners(box, f"{entry.place}: boxes[{number}]") for number, box in enumerate(entry.get("boxes", list))
    )
    if not entry.has("segms"):
        return PictureBoxes(image, boxes)
    listed = entry.get("segms", list)
    if len(listed) != len(boxes):
        raise UserError(f"{entry.place}: 'segms' outline {len(listed)} objects, but there are {len(boxes)} boxes")
    outlines = tuple(
        tuple(
            _polygon(polygon, f"{entry.place}: segms[{number}][{at}]")
            for at, polygon in enumerate(_items(of_box, f"{entry.place}: segms[{number}]", "polygons"))
        )
        for number, of_box in enumerate(listed)
    )
    return PictureBoxes(image, boxes, outlines)


def _corners(value: Json, place: str) -> Corners:
    numbers = [_number(one, place) for one in _items(value, place, "x1, y1, x2, y2")]
    if len(numbers) not in (4, 5) or numbers[2] < numbers[0] or numbers[3] < numbers[1]:  # a fifth is a score
        raise UserError(f"{place} must hold x1, y1, x2, y2 in pixels, with x1 <= x2 and y1 <= y2, but it is {numbers}")
    return numbers[0], numbers[1], numbers[2], numbers[3]


def _polygon(value: Json, place: str) -> Polygon:
    corners = []
    for corner in _items(value, place, "corners"):
        pair = _items(corner, place, "corners of x and y")
        if len(pair) != 2:
            raise UserError(f"{place} must hold corners of x and y, but one has {len(pair)} numbers")
        corners.append((_number(pair[0], place), _number(pair[1], place)))
    return tuple(corners)


def _items(value: Json, place: str, what: str) -> list[Json]:
    if not isinstance(value, list):
        raise UserError(f"{place} must be a list of {what}, but it is {shown(value)}")
    return value


def _number(value: Json, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{place} must hold numbers, but one is {shown(value)}")
    return float(value)
