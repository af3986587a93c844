"""The vision wing: regions of images beside text."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.vision.boxes import corners_size_area, require_fractions
else:
    __getattr__ = lazy(
        __name__,
        {
            "boxes": ["corners_size_area", "require_fractions"],
        },
        rooms=["contrastive", "extractors", "features", "modules", "objectives", "recipes"],
    )

__all__ = [
    "contrastive",
    "corners_size_area",
    "extractors",
    "features",
    "modules",
    "objectives",
    "recipes",
    "require_fractions",
]
