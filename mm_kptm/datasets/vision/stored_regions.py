"""Regions of images read from a store, by image name."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from mm_kptm.batch import Regions, SequenceLayout
from mm_kptm.data.packing import gather
from mm_kptm.preprocessing.inputs import IntArray
from mm_kptm.vision.features.store import RegionStore


@dataclass(frozen=True, eq=False)
class StoredRegions:
    """The pictures of a region store, by their place in it."""

    store: RegionStore

    @cached_property
    def lengths(self) -> IntArray:
        return self.store.lengths

    def regions(self, images: IntArray) -> Regions:
        """Read from disk, and as float32 from here on."""
        rows, lengths = gather(self.store.offsets, images)
        return Regions(
            features=torch.from_numpy(self.store.features[rows]).float(),
            boxes=torch.from_numpy(self.store.boxes[rows]),
            layout=SequenceLayout(tuple(lengths.tolist())),
        )
