"""Datasets for pretraining: documents, linked texts, texts with sentiment labels."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.datasets.pretraining.documents import Documents
    from mm_kptm.datasets.pretraining.image_text_pairs import ImageTextPairs
    from mm_kptm.datasets.pretraining.lexicons import Lexicons
    from mm_kptm.datasets.pretraining.linked_texts import MentionedTexts
    from mm_kptm.datasets.pretraining.multilingual_text import MultilingualText
    from mm_kptm.datasets.pretraining.sentiment_tagged import SentimentTexts
else:
    __getattr__ = lazy(
        __name__,
        {
            "documents": ["Documents"],
            "image_text_pairs": ["ImageTextPairs"],
            "lexicons": ["Lexicons"],
            "linked_texts": ["MentionedTexts"],
            "multilingual_text": ["MultilingualText"],
            "sentiment_tagged": ["SentimentTexts"],
        },
    )

__all__ = ["Documents", "ImageTextPairs", "Lexicons", "MentionedTexts", "MultilingualText", "SentimentTexts"]
