"""Region features of images from a store, by image name, with detector outputs if stored.

The files are those of :mod:`mm_kptm.vision.features.store`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from mm_kptm.batch import Detected, Regions, SequenceLayout
from mm_kptm.data.packing import gather
from mm_kptm.datasets.boxed_pictures import BoxedPictures
from mm_kptm.preprocessing.images import PictureFolder
from mm_kptm.preprocessing.inputs import IntArray, RegionProvider
from mm_kptm.vision.features.store import RegionStore

CLASSES, CONFIDENCES = "class_probs", "confidences"
DETECTED = ("object_ids", "object_confidences", "attribute_ids", "attribute_confidences")


@dataclass(frozen=True, eq=False)
class StoredRegions:
    """The images of a region store, by their place in it.

    Args:
        store: the features and boxes.
        detections: whether :data:`CLASSES` and :data:`DETECTED` are read as well, where they are stored.
        boxes_alone: whether the features are left, for models that compute them from pixels.
    """

    store: RegionStore
    detections: bool = False
    boxes_alone: bool = False

    @property
    def names(self) -> Sequence[str]:
        """Names of the images, [P]."""
        return self.store.names

    @property
    def boxes(self) -> NDArray[np.float32]:
        """Boxes of all images, one image after the other."""
        return self.store.boxes

    @cached_property
    def lengths(self) -> IntArray:
        return self.store.lengths

    def regions(self, images: IntArray) -> Regions:
        """Read from disk; features and distributions over classes stay float16 until the model reads them."""
        rows, lengths = gather(self.store.offsets, images)
        wanted = {CLASSES, CONFIDENCES, *DETECTED} & self.store.columns.keys() if self.detections else ()
        columns = {name: torch.from_numpy(self.store.columns[name][rows]) for name in wanted}
        features = torch.zeros(len(rows), 0)
        if not self.boxes_alone:
            features = torch.from_numpy(self.store.features[rows])
        return Regions(
            features=features,
            boxes=torch.from_numpy(self.store.boxes[rows]),
            layout=SequenceLayout(tuple(lengths.tolist())),
            classes=columns.get(CLASSES),
            objects=_detected(columns, "object") or _best_object(columns),
            attributes=_detected(columns, "attribute"),
        )


#: Images by name: their regions, their pictures, or their pictures with boxes.
ImageStore = RegionStore | PictureFolder | BoxedPictures


def provider_of(store: ImageStore, *, detections: bool = False) -> RegionProvider:
    """What the images of a store give to a batch, with ``detections`` where they are asked for and stored."""
    if isinstance(store, RegionStore):
        return StoredRegions(store, detections or store.with_detections)
    if detections and isinstance(store, BoxedPictures) and isinstance(store.given, StoredRegions):
        return replace(store, given=replace(store.given, detections=True))
    return store


def detector_outputs(store: ImageStore) -> RegionStore | None:
    """The store of what a detector said of the images; None where there is none."""
    if isinstance(store, BoxedPictures):
        return store.given.store if isinstance(store.given, StoredRegions) else None
    return store if isinstance(store, RegionStore) else None


def region_sizes(store: ImageStore) -> dict[str, int]:
    """Sizes of an encoder that follow from its images; no detector names the cells of pictures."""
    classes = store.columns.get(CLASSES) if isinstance(store, RegionStore) else None
    return {"region_dim": store.dim, "num_region_classes": 0 if classes is None else int(classes.shape[1])}


def _detected(columns: Mapping[str, torch.Tensor], what: str) -> Detected | None:
    ids, confidence = columns.get(f"{what}_ids"), columns.get(f"{what}_confidences")
    return None if ids is None or confidence is None else Detected(ids.long(), confidence.float())


def _best_object(columns: Mapping[str, torch.Tensor]) -> Detected | None:
    """The most probable class of every region but the background, where a file keeps the distribution alone."""
    if CLASSES not in columns:
        return None
    best = columns[CLASSES][:, 1:].float().max(1)
    return Detected(best.indices, columns[CONFIDENCES].float() if CONFIDENCES in columns else best.values)
