"""Tasks that measure two towers as they are: names of classes, labelled pictures, minimal pairs."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.tasks.vision.two_towers.linear_probe import ImageRetrieval, LinearProbe, NearestNeighbours
    from mm_kptm.tasks.vision.two_towers.minimal_pairs import MinimalPairs, MinimalPairSource
    from mm_kptm.tasks.vision.two_towers.zero_shot import ClassNames, ZeroShotClassification
else:
    __getattr__ = lazy(
        __name__,
        {
            "linear_probe": ["ImageRetrieval", "LinearProbe", "NearestNeighbours"],
            "minimal_pairs": ["MinimalPairSource", "MinimalPairs"],
            "zero_shot": ["ClassNames", "ZeroShotClassification"],
        },
    )

__all__ = [
    "ClassNames",
    "ImageRetrieval",
    "LinearProbe",
    "MinimalPairSource",
    "MinimalPairs",
    "NearestNeighbours",
    "ZeroShotClassification",
]
