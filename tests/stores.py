"""Region stores of made features."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mm_kptm.vision.features import Detections, RegionStore, write_store


def write_regions(folder: Path | str, images: Iterable[tuple[str, Any, Any]]) -> RegionStore:
    """A store of names, features [N, F] and boxes [N, 4] in fractions."""
    return write_store(folder, (Detections(name, values, boxes, fractions=True) for name, values, boxes in images))
