"""Region features of images from a store, by image name, with detector outputs if stored.

The files are those of :mod:`mm_kptm.vision.features.region_store`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from mm_kptm.batch import Detected, Regions, SequenceLayout
from mm_kptm.data.packing import gather
from mm_kptm.preprocessing.images import PictureFolder
from mm_kptm.preprocessing.inputs import IntArray, RegionProvider
from mm_kptm.vision.features.store import RegionStore

CLASSES = "class_probs"
DETECTED = ("object_ids", "object_confidences", "attribute_ids", "attribute_confidences")


@dataclass(frozen=True, eq=False)
class StoredRegions:
    """The images of a region store, by their place in it.

    Args:
        store: the features and boxes.
        detections: columns of the store that are read as well, by name: those of
            :class:`~mm_kptm.vision.features.region_store.DetectionStore`, of which :data:`CLASSES` and :data:`DETECTED`
            count.
    """

    store: RegionStore
    detections: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)

    @cached_property
    def lengths(self) -> IntArray:
        return self.store.lengths

    def regions(self, images: IntArray) -> Regions:
        """Read from disk, and as float32 from here on."""
        rows, lengths = gather(self.store.offsets, images)
        wanted = {CLASSES, *DETECTED} & self.detections.keys()
        columns = {name: torch.from_numpy(self.detections[name][rows]) for name in wanted}
        return Regions(
            features=torch.from_numpy(self.store.features[rows]).float(),
            boxes=torch.from_numpy(self.store.boxes[rows]),
            layout=SequenceLayout(tuple(lengths.tolist())),
            classes=columns[CLASSES].float() if CLASSES in columns else None,
            objects=_detected(columns, "object"),
            attributes=_detected(columns, "attribute"),
        )


ImageStore = RegionStore | PictureFolder  #: images by name: their regions, or their pictures


def provider_of(store: ImageStore) -> RegionProvider:
    """What the images of a store give to a batch."""
    return store if isinstance(store, PictureFolder) else StoredRegions(store)


def region_sizes(store: ImageStore) -> dict[str, int]:
    """Sizes of an encoder that follow from its images; no detector names the cells of pictures."""
    return {"region_dim": store.dim} | ({"num_region_classes": 0} if isinstance(store, PictureFolder) else {})


def _detected(columns: Mapping[str, torch.Tensor], what: str) -> Detected | None:
    ids, confidence = columns.get(f"{what}_ids"), columns.get(f"{what}_confidences")
    return None if ids is None or confidence is None else Detected(ids.long(), confidence.float())
