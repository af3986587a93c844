"""Adaptation of a frozen encoder: adapters beside its layers, trained while its own weights stay."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.adaptation.side_adapter import AdaptedStream, Adapter, AdapterSet, adapt, published_depths
else:
    __getattr__ = lazy(
        __name__,
        {
            "side_adapter": ["AdaptedStream", "Adapter", "AdapterSet", "adapt", "published_depths"],
        },
    )

__all__ = ["AdaptedStream", "Adapter", "AdapterSet", "adapt", "published_depths"]
