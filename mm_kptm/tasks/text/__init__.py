"""Tasks on text: classification, entailment, tagging, questions, retrieval and mining of sentences, translation."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.tasks.text.entailment import Entailment
    from mm_kptm.tasks.text.mining import BitextMining
    from mm_kptm.tasks.text.parts_of_speech import PartsOfSpeech
    from mm_kptm.tasks.text.question_answering import QuestionAnswering
    from mm_kptm.tasks.text.sentence_classification import SentenceClassification
    from mm_kptm.tasks.text.sentence_retrieval import ParallelSentences, TranslationSource
    from mm_kptm.tasks.text.tagging import NamedEntities
    from mm_kptm.tasks.text.translation import Translation
else:
    __getattr__ = lazy(
        __name__,
        {
            "mining": ["BitextMining"],
            "parts_of_speech": ["PartsOfSpeech"],
            "translation": ["Translation"],
            "question_answering": ["QuestionAnswering"],
            "entailment": ["Entailment"],
            "sentence_classification": ["SentenceClassification"],
            "sentence_retrieval": ["ParallelSentences", "TranslationSource"],
            "tagging": ["NamedEntities"],
        },
    )

__all__ = [
    "BitextMining",
    "Entailment",
    "NamedEntities",
    "ParallelSentences",
    "PartsOfSpeech",
    "QuestionAnswering",
    "SentenceClassification",
    "Translation",
    "TranslationSource",
]
