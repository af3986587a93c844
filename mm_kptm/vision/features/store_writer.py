"""Native store of region features: resumable writing.

Shapes: P images, R regions, N regions of one image.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from mm_kptm.errors import UserError
from mm_kptm.io.atomic import write_json, write_text
from mm_kptm.io.records import read_lines
from mm_kptm.io.text_lines import read_text
from mm_kptm.vision.features.detections import OPTIONAL, Array, Detections
from mm_kptm.vision.features.growing import GrowingArray
from mm_kptm.vision.features.store import COLUMNS, INDEX, NAMES, RegionStore

PROGRESS = "images.jsonl.part"  #: log of written images, one per line; removed when the store is complete
OVERSHOOT = 0.01  #: how far a box may exceed the border, as a fraction; it is clipped


class StoreWriter:
    """Resumable writer of a store, image by image in constant memory; the index is written last.

    Args:
        folder: folder of the store; a finished store is not overwritten.
        resume: continue the unfinished store in ``folder``, if any; else start anew.

    Raises:
        UserError: the store is already finished, or the unfinished one is damaged.
    """

    def __init__(self, folder: str | Path, *, resume: bool = False) -> None:
        self.folder = Path(folder)
        if (self.folder / INDEX).exists():
            raise UserError(f"{self.folder} holds a finished store; name another folder, or delete it")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.images: dict[str, int] = {}  #: number of regions of every written image
        self._arrays: dict[str, GrowingArray] = {}
        self._shape: dict[str, Any] | None = None
        self._words: dict[str, int] = {}
        self._empty: list[Detections] = []  # images without regions, before the first that defines the widths
        progress = self.folder / PROGRESS
        if resume and progress.is_file():
            self._take_up(progress)
        else:
            progress.write_bytes(b"")
        self._progress = progress.open("a", encoding="utf-8")

    def add(self, image: Detections) -> None:
        """Write one image; its columns must be those of the first image.

        Raises:
            UserError: a duplicate image, other columns or widths, features not finite as float16, or boxes outside of
                the image.
        """
        if image.image in self.images:
            raise UserError(f"the regions of image {image.image!r} were added twice")
        values = _values(image, self._placed(image))
        shape = {name: list(array.shape[1:]) for name, array in values.items()}
        if not len(image):  # without regions the widths are unknown
            values = {name: array for name, array in values.items() if name == "sizes"}
            if self._shape is None:
                self.images[image.image] = 0
                self._empty.append(image)
                return
            shape = {name: inner for name, inner in self._shape.items() if name != "sizes" or values}
        if self._shape is None:
            self._open(shape, rows=0, images=0)
            self._say({"columns": shape})
            for empty in self._empty:
                del self.images[empty.image]
                self.add(empty)
        if self._shape != shape:
            raise UserError(
                f"image {image.image!r} comes with {_columns_text(shape)}, but the images before it with "
                f"{_columns_text(self._shape)}"
            )
        for name, array in values.items():
            self._arrays[name].append(array)
        self.images[image.image] = len(image)
        self._say({"image": image.image, "regions": len(image)})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for array in self._arrays.values():
            array.close()
        self._progress.close()
        if kind is not None:
            return
        if self._shape is None:
            raise UserError(f"no image with a region was given to write into {self.folder}")
        if self._words:
            write_json(self.folder / NAMES, list(self._words))
        write_json(self.folder / INDEX, {"images": list(self.images.items())})
        (self.folder / PROGRESS).unlink()

    def _placed(self, image: Detections) -> Array | None:
        """Indices of the class names of an image's regions; a new name is logged at once."""
        if image.object_names is None:
            return None
        for word in image.object_names:
            if word not in self._words:
                self._words[word] = len(self._words)
                self._say({"word": word})
        return np.array([self._words[word] for word in image.object_names], dtype="<i4")

    def _say(self, line: dict[str, Any]) -> None:
        """Flush the arrays, then append a line to the progress log."""
        for array in self._arrays.values():
            array.flush()
        self._progress.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._progress.flush()

    def _open(self, shape: dict[str, Any], *, rows: int, images: int) -> None:
        self._shape = shape
        for name, inner in shape.items():
            kind = {"features": "<f2", "boxes": "<f4", "sizes": "<i4"}.get(name) or COLUMNS[name][0]
            count = images if name == "sizes" else rows
            width = inner[0] if inner else None
            self._arrays[name] = GrowingArray(self.folder / f"{name}.npy", kind, width, rows=count)

    def _take_up(self, progress: Path) -> None:
        """Resume after the last completely written image."""
        text = read_text(progress, "one JSON object a line", allow_empty=True)
        whole = text[: text.rfind("\n") + 1]
        write_text(progress, whole)  # drop a truncated last line
        shape = None
        try:
            for line in read_lines(progress, allow_empty=True):
                if line.has("columns"):
                    shape = line.get("columns", dict)
                elif line.has("word"):
                    self._words[line.text("word")] = len(self._words)
                else:
                    self.images[line.text("image")] = line.count("regions")
        except UserError as error:
            raise UserError(f"{progress} is damaged; delete {self.folder} and begin again ({error})") from None
        if shape is not None:
            self._open(shape, rows=sum(self.images.values()), images=len(self.images))


def _values(image: Detections, names: Array | None) -> dict[str, Array]:
    """Arrays in their on-disk form, by file name."""
    with np.errstate(over="ignore"):
        features = image.features.astype("<f2")
    if not np.isfinite(features).all():
        raise UserError(f"the features of image {image.image!r} are not all finite numbers below 65504")
    boxes = image.fraction_boxes().astype("<f4")
    if len(boxes) and not (boxes.min() >= -OVERSHOOT and boxes.max() <= 1 + OVERSHOOT):
        raise UserError(
            f"the boxes of image {image.image!r} must be fractions of the image, between 0 and 1, but reach from "
            f"{boxes.min():g} to {boxes.max():g}; `mm-kptm features doctor` says what is wrong with them"
        )
    values = {"features": features, "boxes": boxes.clip(0, 1)}
    values |= {name: value for name, value in image.columns().items() if name != "object_names"}
    if names is not None:
        values["object_names"] = names
    if image.size is not None:
        values["sizes"] = np.array([image.size], dtype="<i4")
    return {name: values[name] for name in ("features", "boxes", *OPTIONAL, "sizes") if name in values}


def _columns_text(shape: dict[str, Any] | None) -> str:
    return ", ".join(f"{name} of {inner[0]}" if inner else name for name, inner in (shape or {}).items())


def write_store(folder: str | Path, images: Iterable[Detections]) -> RegionStore:
    """Write a store of the images and open it."""
    with StoreWriter(folder) as writer:
        for image in images:
            writer.add(image)
    return RegionStore(folder)
