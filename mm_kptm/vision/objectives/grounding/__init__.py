"""Objectives that find in the image what a text means."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.vision.objectives.grounding.region_grounding import RegionGrounding
else:
    __getattr__ = lazy(__name__, {"region_grounding": ["RegionGrounding"]})

__all__ = ["RegionGrounding"]
