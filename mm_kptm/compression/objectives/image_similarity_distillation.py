"""Image similarity distillation: two towers learn which pictures of a batch are near each other from an image teacher.

Shapes: B pairs, N pictures of training, D dim of the teacher.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mm_kptm.compression.affinity_mimicking import AffinityMimicking, named_teacher
from mm_kptm.compression.image_teacher import ImageTeacher, Pictures
from mm_kptm.errors import UserError
from mm_kptm.objectives.spec import TEXTS, ObjectiveContext, ObjectiveSpec
from mm_kptm.vision.objectives.image_text_contrast import IMAGES

STORED_PICTURES = "pictures as they are stored"


class ImageSimilarityDistillation(AffinityMimicking):
    """Affinity mimicking with a teacher of pictures, which reads them as they are stored.

    What training does to pictures (crops, turns, tints), the towers alone see: they learn the teacher's answer to the
    picture that was changed.

    Args:
        pictures: the pictures of training, read when the first batch comes.
        teacher: what is learnt from.
        temperature: of the affinities.
    """

    name = "image-similarity-distillation"
    need = STORED_PICTURES

    def __init__(self, pictures: Callable[[], Pictures], teacher: ImageTeacher, *, temperature: float = 0.1) -> None:
        super().__init__(temperature=temperature)
        self.pictures = pictures
        self.teacher = teacher

    def read(self, device: torch.device) -> Tensor:
        """The teacher's vectors of pictures, [N, D]."""
        return self.teacher.vectors(self.pictures(), device=device)

    def side(self, images: Tensor, texts: Tensor) -> Tensor:
        """The images, [B, D]."""
        return images


def _build(context: ObjectiveContext) -> ImageSimilarityDistillation:
    weights, given = named_teacher(ImageSimilarityDistillation.name, context.arguments)
    size = given.pop("size", None)
    if not (size is None or (isinstance(size, int) and size > 0)):
        raise UserError(f"{ImageSimilarityDistillation.name}.size is {size!r} but must be a number of pixels above 0")
    teacher = ImageTeacher(weights, str(given.pop("recipe", "")), str(given.pop("backbone", "")), size)
    return ImageSimilarityDistillation(context.offered(STORED_PICTURES), teacher, **given)


IMAGE_SIMILARITY_DISTILLATION = ObjectiveSpec(
    ImageSimilarityDistillation.name,
    "Tung and Mori 2019, Similarity-Preserving Knowledge Distillation, ICCV; the loss is that of Wu et al. 2023, "
    "TinyCLIP: CLIP Distillation via Affinity Mimicking and Weight Inheritance, ICCV, section 3.1",
    _build,
    needs=(TEXTS, IMAGES, STORED_PICTURES),
    arguments=("teacher", "recipe", "backbone", "size", "temperature"),
)
