"""TSV files of Oscar and VinVL, and of scene_graph_benchmark.

Oscar: a folder with ``features.tsv`` (id, number of boxes, base64 [N, F + 6]: the features, then x1 y1 x2 y2 w h as
fractions), ``predictions.tsv`` (id, JSON of sizes and objects), a ``.lineidx`` of byte offsets for each, and
``imageid2idx.json``. scene_graph_benchmark: one TSV (key, JSON), the feature of every object in base64, no sizes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mm_kptm.errors import UserError
from mm_kptm.io.atomic import write_lines
from mm_kptm.io.records import Record, parse_json
from mm_kptm.vision.features.detections import Array, Detections
from mm_kptm.vision.features.formats.files import decode, encode, first_row, rows, unfinished, whole
from mm_kptm.vision.features.formats.format import Add, Format

FEATURES, PREDICTIONS, INDEX = "features.tsv", "predictions.tsv", "imageid2idx.json"
GEOMETRY = 6  #: x1 y1 x2 y2 w h after the features
_COLUMNS, _PAIR = ("id", "num_boxes", "features"), ("id", "json")


def read(path: Path) -> Iterator[Detections]:
    """Read images from a folder, or from a ``features.tsv`` and the predictions beside it, if any."""
    folder = path if path.is_dir() else path.parent
    predictions = folder / PREDICTIONS
    prediction_rows = rows(predictions, _PAIR) if predictions.is_file() else iter(())
    for row, prediction in zip_longest(rows(folder / FEATURES, _COLUMNS), prediction_rows):
        if row is None:
            raise UserError(f"{predictions} has more rows than {folder / FEATURES}")
        where, values = row
        count = whole(values["num_boxes"], "num_boxes", where)
        both = decode(values["features"], "<f4", count, "features", where, dim=-1)
        if count and both.shape[1] <= GEOMETRY:
            raise UserError(f"{where}: a region has {both.shape[1]} numbers; {GEOMETRY} of them are its box")
        features, boxes = both[:, :-GEOMETRY], both[:, -GEOMETRY:-2]
        size: tuple[int, int] | None = None
        columns: dict[str, Any] = {}
        if prediction is not None:
            size, columns = _predicted(values["id"], count, prediction)
        yield Detections(
            values["id"], features, boxes if count else np.zeros((0, 4), "<f4"), size, fractions=True, **columns
        )


def _predicted(
    image: str, count: int, row: tuple[str, dict[str, str]]
) -> tuple[tuple[int, int] | None, dict[str, Any]]:
    where, values = row
    if values["id"] != image:
        raise UserError(f"{where} is of image {values['id']!r}, but the features of the same row are of {image!r}")
    record = _json(values["json"], where)
    objects = _objects(record, where)
    if len(objects) != count:
        raise UserError(f"{where} has {len(objects)} objects, but image {image!r} has {count} regions")
    size = None
    if "image_w" in record and "image_h" in record:
        size = (whole(record["image_w"], "image_w", where), whole(record["image_h"], "image_h", where))
    return size, _columns(objects)


def _json(text: str, where: str) -> dict[str, Any]:
    return dict(Record.of(parse_json(text, where, whole=False), where).values)


def _objects(record: dict[str, Any], where: str) -> list[dict[str, Any]]:
    objects = record.get("objects")
    if not isinstance(objects, list) or not all(isinstance(each, dict) for each in objects):
        raise UserError(f'{where} must hold {{"objects": [{{"class": ..., "rect": ..., "conf": ...}}, ...]}}')
    return objects


def _columns(objects: list[dict[str, Any]]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    if all("class" in each for each in objects):
        columns["object_names"] = tuple(str(each["class"]) for each in objects)
    if all(isinstance(each.get("conf"), int | float) for each in objects):
        columns["object_confidences"] = np.array([each["conf"] for each in objects], dtype="<f4")
    return columns


def _objects_of(image: Detections, boxes: Array) -> list[dict[str, Any]]:
    """Detector outputs of each region, as both tools write them."""
    names: Iterable[str] | None = image.object_names
    if names is None and image.object_ids is not None:
        names = map(str, image.object_ids.tolist())
    objects: list[dict[str, Any]] = [{"rect": [float(x) for x in box]} for box in boxes]
    if names is not None:
        objects = [each | {"class": name} for each, name in zip(objects, names, strict=True)]
    if image.object_confidences is not None:
        objects = [each | {"conf": float(c)} for each, c in zip(objects, image.object_confidences, strict=True)]
    return objects


class _IndexedRows:
    """TSV writer with a file of the byte offsets of its rows."""

    def __init__(self, folder: Path, name: str, stack: ExitStack) -> None:
        self._rows: BinaryIO = stack.enter_context((folder / name).open("wb"))
        self._offsets: BinaryIO = stack.enter_context((folder / name).with_suffix(".lineidx").open("wb"))

    def add(self, *values: str) -> None:
        self._offsets.write(f"{self._rows.tell()}\n".encode())
        self._rows.write(("\t".join(values) + "\n").encode())


@contextmanager
def write(path: Path) -> Iterator[Add]:
    """Write images to a new folder; predictions are written if the images have sizes."""
    indices: dict[str, int] = {}
    with unfinished(path, folder=True) as part:
        with ExitStack() as stack:
            features = _IndexedRows(part, FEATURES, stack)
            predictions: _IndexedRows | None = None

            def add(image: Detections) -> None:
                nonlocal predictions
                if image.image in indices:
                    raise UserError(f"image {image.image!r} comes twice")
                if not indices and image.size is not None:
                    predictions = _IndexedRows(part, PREDICTIONS, stack)
                indices[image.image] = len(indices)
                boxes = image.fraction_boxes()
                both = np.hstack([image.features, boxes, boxes[:, 2:] - boxes[:, :2]])
                features.add(image.image, str(len(image)), encode(both, "<f4"))
                if predictions is not None:
                    width, height = image.require("size", "Oscar's predictions.tsv")
                    record = {"image_h": height, "image_w": width, "num_boxes": len(image)}
                    predictions.add(
                        image.image, json.dumps(record | {"objects": _objects_of(image, image.pixel_boxes())})
                    )

            yield add
        (part / INDEX).write_text(json.dumps(indices), encoding="utf-8")


def read_sgb(path: Path) -> Iterator[Detections]:
    """Read images from a TSV of scene_graph_benchmark; boxes are pixels and image sizes are missing."""
    for where, values in rows(path, _PAIR):
        objects = _objects(_json(values["json"], where), where)
        try:
            features = [decode(each["feature"], "<f4", 1, "feature", where, dim=-1)[0] for each in objects]
            boxes = np.array([each["rect"] for each in objects], dtype="<f4").reshape(-1, 4)
            stacked = np.stack(features) if features else np.zeros((0, 0), "<f4")
        except (KeyError, ValueError, TypeError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(
                f"{where}: an object lacks its rect or feature, or it is of another shape: {error}"
            ) from None
        yield Detections(values["id"], stacked, boxes, None, **_columns(objects))


@contextmanager
def write_sgb(path: Path) -> Iterator[Add]:
    """Write images to a new TSV with its line index."""
    with unfinished(path) as part, ExitStack() as stack:
        file: BinaryIO = stack.enter_context(part.open("wb"))
        offsets: list[int] = []

        def add(image: Detections) -> None:
            regions = _objects_of(image, image.pixel_boxes())
            objects = [
                {"rect": each.pop("rect"), "bbox_id": number, **each, "feature": encode(feature, "<f4")}
                for number, (each, feature) in enumerate(zip(regions, image.features, strict=True))
            ]
            offsets.append(file.tell())
            file.write(f"{image.image}\t{json.dumps({'objects': objects, 'relations': None})}\n".encode())

        yield add
        write_lines(path.with_suffix(".lineidx"), map(str, offsets))


def _is_sgb(path: Path) -> bool:
    row = first_row(path)
    return len(row) == 2 and row[1].startswith("{") and '"feature"' in row[1]


_NAMED = frozenset({"object_names", "object_confidences"})
OSCAR_TSV = Format(
    "oscar-tsv",
    "a folder with features.tsv, predictions.tsv and their line indices (Oscar, VinVL)",
    keeps=_NAMED | {"size"},
    recognises=lambda path: len(first_row(path / FEATURES if path.is_dir() else path)) == len(_COLUMNS),
    read=read,
    write=write,
)
SCENE_GRAPH_TSV = Format(
    "scene-graph-tsv",
    "tab-separated: id and JSON of objects with features in base64 (scene_graph_benchmark)",
    keeps=_NAMED,
    recognises=_is_sgb,
    read=read_sgb,
    write=write_sgb,
)
