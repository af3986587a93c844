"""Pretraining objectives: masking, losses on encoded batches, weighted mixtures, and their needs of datasets."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.objectives.continual import ContinualSchedule
    from mm_kptm.objectives.contrast import in_batch_contrast
    from mm_kptm.objectives.mixture import Mixture, Objective
    from mm_kptm.objectives.next_tokens import NextTokens
    from mm_kptm.objectives.order import NextSentence, SentenceOrder
    from mm_kptm.objectives.pairs import ImageTextMatching
    from mm_kptm.objectives.span_boundary import MaskedSpans
    from mm_kptm.objectives.spans import RunMasking
    from mm_kptm.objectives.spec import ObjectiveSpec, build_objectives, specs
    from mm_kptm.objectives.tokens import MaskedTokens, Masking
else:
    __getattr__ = lazy(
        __name__,
        {
            "continual": ["ContinualSchedule"],
            "contrast": ["in_batch_contrast"],
            "mixture": ["Mixture", "Objective"],
            "next_tokens": ["NextTokens"],
            "order": ["NextSentence", "SentenceOrder"],
            "pairs": ["ImageTextMatching"],
            "span_boundary": ["MaskedSpans"],
            "spans": ["RunMasking"],
            "spec": ["ObjectiveSpec", "build_objectives", "specs"],
            "tokens": ["MaskedTokens", "Masking"],
        },
    )

__all__ = [
    "ContinualSchedule",
    "ImageTextMatching",
    "MaskedSpans",
    "MaskedTokens",
    "Masking",
    "Mixture",
    "NextSentence",
    "NextTokens",
    "Objective",
    "ObjectiveSpec",
    "RunMasking",
    "SentenceOrder",
    "build_objectives",
    "in_batch_contrast",
    "specs",
]
