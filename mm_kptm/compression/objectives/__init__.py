"""Objectives that teach a model what another one has learnt."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.compression.objectives.image_similarity_distillation import ImageSimilarityDistillation
    from mm_kptm.compression.objectives.similarity_distillation import SimilarityDistillation
else:
    __getattr__ = lazy(
        __name__,
        {
            "image_similarity_distillation": ["ImageSimilarityDistillation"],
            "similarity_distillation": ["SimilarityDistillation"],
        },
    )

__all__ = ["ImageSimilarityDistillation", "SimilarityDistillation"]
