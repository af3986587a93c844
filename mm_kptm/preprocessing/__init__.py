"""Preprocessing: raw texts and images become the inputs of an encoder."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.preprocessing.image_text import ImageTextLayout
    from mm_kptm.preprocessing.inputs import InputSource, RegionCrops
    from mm_kptm.preprocessing.text import TextEncoding, TextExample
else:
    __getattr__ = lazy(
        __name__,
        {
            "image_text": ["ImageTextLayout"],
            "inputs": ["InputSource", "RegionCrops"],
            "text": ["TextEncoding", "TextExample"],
        },
    )

__all__ = ["ImageTextLayout", "InputSource", "RegionCrops", "TextEncoding", "TextExample"]
