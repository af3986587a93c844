"""Preprocessing: raw texts and images become the inputs of an encoder."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.preprocessing.inputs import InputSource, RegionCrops
    from mm_kptm.preprocessing.text import TextEncoding, TextExample
else:
    __getattr__ = lazy(
        __name__,
        {
            "inputs": ["InputSource", "RegionCrops"],
            "text": ["TextEncoding", "TextExample"],
        },
    )

__all__ = ["InputSource", "RegionCrops", "TextEncoding", "TextExample"]
