"""The native store as a format, read sequentially in constant memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mm_kptm.vision.features.detections import Detections
from mm_kptm.vision.features.formats.files import unfinished
from mm_kptm.vision.features.formats.format import Add, Format
from mm_kptm.vision.features.growing import row_slices
from mm_kptm.vision.features.store import BOXES, COLUMNS, FEATURES, INDEX, RegionStore, detections
from mm_kptm.vision.features.store_writer import StoreWriter


def read(path: Path) -> Iterator[Detections]:
    """Read the images of a store in order."""
    store = RegionStore(path)
    arrays = zip(row_slices(path / FEATURES, store.lengths), row_slices(path / BOXES, store.lengths), strict=True)
    columns = {name: row_slices(path / f"{name}.npy", store.lengths) for name in store.columns}
    for index, (features, boxes) in enumerate(arrays):
        size = None if store.sizes is None else (int(store.sizes[index, 0]), int(store.sizes[index, 1]))
        values: dict[str, Any] = {name: next(column) for name, column in columns.items()}
        yield detections(store.names[index], features, boxes, size, values, store.vocabulary)


@contextmanager
def write(path: Path) -> Iterator[Add]:
    """Write images to a new store."""
    with unfinished(path, folder=True) as part, StoreWriter(part) as writer:
        yield writer.add


NATIVE = Format(
    "native",
    "the store of this suite: memory-mapped arrays, float16",
    keeps=frozenset({"size", *COLUMNS}),
    recognises=lambda path: (path / INDEX).is_file() and (path / FEATURES).is_file(),
    read=read,
    write=write,
    float16=True,
)
