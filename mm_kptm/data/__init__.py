"""Data: packing, sampling, tokenizers, static masks and file formats."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.data.packing import Packed, gather
    from mm_kptm.data.sampler import BatchIndices, Sampler, in_order, seed_of, seeded, share
else:
    __getattr__ = lazy(
        __name__,
        {
            "packing": ["Packed", "gather"],
            "sampler": ["BatchIndices", "Sampler", "in_order", "seed_of", "seeded", "share"],
        },
        rooms=["formats", "images", "masking", "tokenizers"],
    )

__all__ = [
    "BatchIndices",
    "Packed",
    "Sampler",
    "formats",
    "gather",
    "images",
    "in_order",
    "masking",
    "seed_of",
    "seeded",
    "share",
    "tokenizers",
]
