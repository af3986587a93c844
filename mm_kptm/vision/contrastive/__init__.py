"""Contrastive towers: images and texts in one space, their losses, queues, views and large batches."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.vision.contrastive.augmentation import ViewAugmentation
    from mm_kptm.vision.contrastive.grid_pooling import BoxedImages
    from mm_kptm.vision.contrastive.image_encoder import ImageEncoder
    from mm_kptm.vision.contrastive.preparation import ImagePreparation
    from mm_kptm.vision.contrastive.similarity import Similarity
    from mm_kptm.vision.contrastive.text_towers import TextTower
    from mm_kptm.vision.contrastive.towers import DualTower
else:
    __getattr__ = lazy(
        __name__,
        {
            "augmentation": ["ViewAugmentation"],
            "grid_pooling": ["BoxedImages"],
            "image_encoder": ["ImageEncoder"],
            "preparation": ["ImagePreparation"],
            "similarity": ["Similarity"],
            "text_towers": ["TextTower"],
            "towers": ["DualTower"],
        },
        rooms=["losses"],
    )

__all__ = [
    "BoxedImages",
    "DualTower",
    "ImageEncoder",
    "ImagePreparation",
    "Similarity",
    "TextTower",
    "ViewAugmentation",
    "losses",
]
