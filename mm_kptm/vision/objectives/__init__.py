"""Vision-language pretraining objectives: masked regions, masked objects, word-region alignment."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.vision.objectives.lxmert import LxmertPretraining
    from mm_kptm.vision.objectives.masked_objects import MaskedObjects
    from mm_kptm.vision.objectives.masked_regions import (
        MaskedRegionClasses,
        MaskedRegionDistributions,
        MaskedRegionFeatures,
        WordRegionAlignment,
    )
else:
    __getattr__ = lazy(
        __name__,
        {
            "lxmert": ["LxmertPretraining"],
            "masked_objects": ["MaskedObjects"],
            "masked_regions": [
                "MaskedRegionClasses",
                "MaskedRegionDistributions",
                "MaskedRegionFeatures",
                "WordRegionAlignment",
            ],
        },
    )

__all__ = [
    "LxmertPretraining",
    "MaskedObjects",
    "MaskedRegionClasses",
    "MaskedRegionDistributions",
    "MaskedRegionFeatures",
    "WordRegionAlignment",
]
