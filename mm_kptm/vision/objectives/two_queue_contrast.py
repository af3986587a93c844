"""The objective of BriVL, as experiments name it."""

from __future__ import annotations

from mm_kptm.objectives.spec import TEXTS, ObjectiveSpec
from mm_kptm.vision.contrastive.two_queues import TwoQueueContrast
from mm_kptm.vision.objectives.image_text_contrast import IMAGES

TWO_QUEUE_CONTRAST = ObjectiveSpec(
    "two-queue-contrast",
    "Huo et al. 2021, WenLan: Bridging Vision and Language by Large-Scale Multi-Modal Pre-Training, arXiv:2103.06561",
    lambda context: TwoQueueContrast(**context.arguments),
    needs=(TEXTS, IMAGES),
)
