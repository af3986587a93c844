"""Region features on disk: published file formats, the native store, the feature contract, and diagnosis tools."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.vision.features.contract import FeatureContract, read_contract, write_contract
    from mm_kptm.vision.features.convert import Conversion
    from mm_kptm.vision.features.detections import Detections
    from mm_kptm.vision.features.doctor import Doctor, Fault
    from mm_kptm.vision.features.store import RegionStore
    from mm_kptm.vision.features.store_writer import StoreWriter, write_store
else:
    __getattr__ = lazy(
        __name__,
        {
            "contract": ["FeatureContract", "read_contract", "write_contract"],
            "convert": ["Conversion"],
            "detections": ["Detections"],
            "doctor": ["Doctor", "Fault"],
            "store": ["RegionStore"],
            "store_writer": ["StoreWriter", "write_store"],
        },
        rooms=["formats"],
    )

__all__ = [
    "Conversion",
    "Detections",
    "Doctor",
    "Fault",
    "FeatureContract",
    "RegionStore",
    "StoreWriter",
    "formats",
    "read_contract",
    "write_contract",
    "write_store",
]
