"""Published vision-language datasets in their own files: VQA v2, GQA, NLVR2, VCR, COCO, Flickr30k and others."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.datasets.vision.coco_flickr30k import KarpathyData
    from mm_kptm.datasets.vision.flickr30k_entities import Flickr30kEntitiesData
    from mm_kptm.datasets.vision.gqa import GqaData
    from mm_kptm.datasets.vision.nlvr2 import Nlvr2Data
    from mm_kptm.datasets.vision.ok_vqa import OkVqaData
    from mm_kptm.datasets.vision.refcoco import RefCocoData
    from mm_kptm.datasets.vision.snli_ve import SnliVeData
    from mm_kptm.datasets.vision.vcr import VcrData
    from mm_kptm.datasets.vision.visual7w import Visual7wData
    from mm_kptm.datasets.vision.vizwiz import VizWizData
    from mm_kptm.datasets.vision.vqa_v2 import VqaV2Data
else:
    __getattr__ = lazy(
        __name__,
        {
            "coco_flickr30k": ["KarpathyData"],
            "flickr30k_entities": ["Flickr30kEntitiesData"],
            "gqa": ["GqaData"],
            "nlvr2": ["Nlvr2Data"],
            "ok_vqa": ["OkVqaData"],
            "refcoco": ["RefCocoData"],
            "snli_ve": ["SnliVeData"],
            "vcr": ["VcrData"],
            "visual7w": ["Visual7wData"],
            "vizwiz": ["VizWizData"],
            "vqa_v2": ["VqaV2Data"],
        },
    )

__all__ = [
    "Flickr30kEntitiesData",
    "GqaData",
    "KarpathyData",
    "Nlvr2Data",
    "OkVqaData",
    "RefCocoData",
    "SnliVeData",
    "VcrData",
    "Visual7wData",
    "VizWizData",
    "VqaV2Data",
]
