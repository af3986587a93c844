"""Tasks on text: classification, entailment, tagging, sentence retrieval."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.tasks.text.entailment import Entailment
    from mm_kptm.tasks.text.question_answering import QuestionAnswering
    from mm_kptm.tasks.text.sentence_classification import SentenceClassification
    from mm_kptm.tasks.text.sentence_retrieval import ParallelSentences, TranslationSource
    from mm_kptm.tasks.text.tagging import NamedEntities
    from mm_kptm.tasks.text.translation import Translation
else:
    __getattr__ = lazy(
        __name__,
        {
            "translation": ["Translation"],
            "question_answering": ["QuestionAnswering"],
            "entailment": ["Entailment"],
            "sentence_classification": ["SentenceClassification"],
            "sentence_retrieval": ["ParallelSentences", "TranslationSource"],
            "tagging": ["NamedEntities"],
        },
    )

__all__ = [
    "Entailment",
    "NamedEntities",
    "ParallelSentences",
    "QuestionAnswering",
    "SentenceClassification",
    "Translation",
    "TranslationSource",
]
