"""Multilingual corpora: sentence pairs, token streams and language sampling."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.crosslingual.corpora.bitext import (
        EncodedSentence,
        every_pair,
        monolingual,
        sentence_pairs,
        translations,
    )
    from mm_kptm.crosslingual.corpora.language_sampling import drawn, shares
    from mm_kptm.crosslingual.corpora.token_stream import TokenStream
else:
    __getattr__ = lazy(
        __name__,
        {
            "bitext": ["EncodedSentence", "every_pair", "monolingual", "sentence_pairs", "translations"],
            "language_sampling": ["drawn", "shares"],
            "token_stream": ["TokenStream"],
        },
    )

__all__ = [
    "EncodedSentence",
    "TokenStream",
    "drawn",
    "every_pair",
    "monolingual",
    "sentence_pairs",
    "shares",
    "translations",
]
