"""Published vision-language datasets: VQA v2, COCO and Flickr30k captions, RefCOCO."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.datasets.vision.coco_flickr30k import KarpathyData
    from mm_kptm.datasets.vision.refcoco import RefCocoData
    from mm_kptm.datasets.vision.vqa_v2 import VqaV2Data
else:
    __getattr__ = lazy(
        __name__,
        {
            "coco_flickr30k": ["KarpathyData"],
            "refcoco": ["RefCocoData"],
            "vqa_v2": ["VqaV2Data"],
        },
    )

__all__ = ["KarpathyData", "RefCocoData", "VqaV2Data"]
