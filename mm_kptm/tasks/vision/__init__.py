"""Vision-language tasks: questions, choices, retrieval, grounding of phrases, entailment, captions."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.tasks.vision.answerability import Answerability
    from mm_kptm.tasks.vision.captioning import CaptioningSource, ImageCaptioning
    from mm_kptm.tasks.vision.gqa import GQA
    from mm_kptm.tasks.vision.grounding import ExpressionSource, Grounding
    from mm_kptm.tasks.vision.knowledge_vqa import KnowledgeVQA
    from mm_kptm.tasks.vision.multiple_choice import ChoiceSource, MultipleChoice
    from mm_kptm.tasks.vision.nlvr2 import NLVR2, ImagePairSource
    from mm_kptm.tasks.vision.phrase_grounding import PhraseGrounding, PhraseSource
    from mm_kptm.tasks.vision.retrieval import CaptionSource, Retrieval
    from mm_kptm.tasks.vision.vcr import VCR
    from mm_kptm.tasks.vision.visual_entailment import VisualEntailment
    from mm_kptm.tasks.vision.vqa import VQA, QuestionSource
else:
    __getattr__ = lazy(
        __name__,
        {
            "answerability": ["Answerability"],
            "captioning": ["CaptioningSource", "ImageCaptioning"],
            "gqa": ["GQA"],
            "grounding": ["ExpressionSource", "Grounding"],
            "knowledge_vqa": ["KnowledgeVQA"],
            "multiple_choice": ["ChoiceSource", "MultipleChoice"],
            "nlvr2": ["NLVR2", "ImagePairSource"],
            "phrase_grounding": ["PhraseGrounding", "PhraseSource"],
            "retrieval": ["CaptionSource", "Retrieval"],
            "vcr": ["VCR"],
            "visual_entailment": ["VisualEntailment"],
            "vqa": ["VQA", "QuestionSource"],
        },
    )

__all__ = [
    "GQA",
    "NLVR2",
    "VCR",
    "VQA",
    "Answerability",
    "CaptionSource",
    "CaptioningSource",
    "ChoiceSource",
    "ExpressionSource",
    "Grounding",
    "ImageCaptioning",
    "ImagePairSource",
    "KnowledgeVQA",
    "MultipleChoice",
    "PhraseGrounding",
    "PhraseSource",
    "QuestionSource",
    "Retrieval",
    "VisualEntailment",
]
