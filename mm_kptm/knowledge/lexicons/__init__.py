"""Lexicons that systems read: WordNet's supersenses, related words, n-grams, SentiWordNet."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.knowledge.lexicons.ngrams import NgramLexicon
    from mm_kptm.knowledge.lexicons.related_words import RelatedWords, WordVectors
    from mm_kptm.knowledge.lexicons.sentiwordnet import SentiWordNet
    from mm_kptm.knowledge.lexicons.supersenses import SUPERSENSES, Inventory, SenseVocabulary
else:
    __getattr__ = lazy(
        __name__,
        {
            "ngrams": ["NgramLexicon"],
            "related_words": ["RelatedWords", "WordVectors"],
            "sentiwordnet": ["SentiWordNet"],
            "supersenses": ["SUPERSENSES", "Inventory", "SenseVocabulary"],
        },
    )

__all__ = [
    "SUPERSENSES",
    "Inventory",
    "NgramLexicon",
    "RelatedWords",
    "SenseVocabulary",
    "SentiWordNet",
    "WordVectors",
]
