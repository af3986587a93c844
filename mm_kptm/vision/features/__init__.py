"""Region features on disk: published file formats, the native store, the feature contract, and diagnosis tools."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.vision.features.contract import FeatureContract, read_contract, write_contract
    from mm_kptm.vision.features.convert import Conversion
    from mm_kptm.vision.features.detections import Detections
    from mm_kptm.vision.features.doctor import Doctor, Fault
    from mm_kptm.vision.features.region_store import DetectionStore, DetectionWriter, write_detections
    from mm_kptm.vision.features.store import RegionStore, write_store
else:
    __getattr__ = lazy(
        __name__,
        {
            "contract": ["FeatureContract", "read_contract", "write_contract"],
            "convert": ["Conversion"],
            "detections": ["Detections"],
            "doctor": ["Doctor", "Fault"],
            "region_store": ["DetectionStore", "DetectionWriter", "write_detections"],
            "store": ["RegionStore", "write_store"],
        },
        rooms=["formats"],
    )

__all__ = [
    "Conversion",
    "DetectionStore",
    "DetectionWriter",
    "Detections",
    "Doctor",
    "Fault",
    "FeatureContract",
    "RegionStore",
    "formats",
    "read_contract",
    "write_contract",
    "write_detections",
    "write_store",
]
