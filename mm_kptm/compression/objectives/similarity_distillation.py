"""Similarity distillation: two towers learn which texts of a batch are near each other from a teacher of texts.

Shapes: B pairs, N texts of training, D dim of the teacher.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mm_kptm.compression.affinity_mimicking import AffinityMimicking, named_teacher
from mm_kptm.compression.text_teacher import TextTeacher
from mm_kptm.objectives.spec import TEXTS, ObjectiveContext, ObjectiveSpec
from mm_kptm.vision.objectives.image_text_contrast import IMAGES

WRITTEN_TEXTS = "texts as they are written"


class SimilarityDistillation(AffinityMimicking):
    """Affinity mimicking with a teacher of texts.

    Args:
        texts: the texts of training, read when the first batch comes.
        teacher: what is learnt from.
        temperature: of the affinities.
    """

    name = "similarity-distillation"
    need = WRITTEN_TEXTS

    def __init__(self, texts: Callable[[], Sequence[str]], teacher: TextTeacher, *, temperature: float = 0.1) -> None:
        super().__init__(temperature=temperature)
        self.texts = texts
        self.teacher = teacher

    def read(self, device: torch.device) -> Tensor:
        """The teacher's vectors of texts, [N, D]."""
        return self.teacher.vectors(self.texts(), device=device)

    def side(self, images: Tensor, texts: Tensor) -> Tensor:
        """The texts, [B, D]."""
        return texts


def _build(context: ObjectiveContext) -> SimilarityDistillation:
    weights, given = named_teacher(SimilarityDistillation.name, context.arguments)
    teacher = TextTeacher(weights, str(given.pop("recipe", "")), str(given.pop("prefix", "")))
    return SimilarityDistillation(context.offered(WRITTEN_TEXTS), teacher, **given)


SIMILARITY_DISTILLATION = ObjectiveSpec(
    SimilarityDistillation.name,
    "Wu et al. 2023, TinyCLIP: CLIP Distillation via Affinity Mimicking and Weight Inheritance, ICCV, section 3.1",
    _build,
    needs=(TEXTS, IMAGES, WRITTEN_TEXTS),
    arguments=("teacher", "recipe", "prefix", "temperature"),
)
