"""Vision-language tasks: question answering, retrieval, referring expressions, captions."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.tasks.vision.captioning import CaptioningSource, ImageCaptioning
    from mm_kptm.tasks.vision.grounding import ExpressionSource, Grounding
    from mm_kptm.tasks.vision.knowledge_vqa import KnowledgeVQA
    from mm_kptm.tasks.vision.retrieval import CaptionSource, Retrieval
    from mm_kptm.tasks.vision.vqa import VQA, QuestionSource
else:
    __getattr__ = lazy(
        __name__,
        {
            "captioning": ["CaptioningSource", "ImageCaptioning"],
            "grounding": ["ExpressionSource", "Grounding"],
            "knowledge_vqa": ["KnowledgeVQA"],
            "retrieval": ["CaptionSource", "Retrieval"],
            "vqa": ["VQA", "QuestionSource"],
        },
    )

__all__ = [
    "VQA",
    "CaptionSource",
    "CaptioningSource",
    "ExpressionSource",
    "Grounding",
    "ImageCaptioning",
    "KnowledgeVQA",
    "QuestionSource",
    "Retrieval",
]
