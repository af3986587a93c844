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
    from mm_kptm.crosslingual.corpora.code_switching import CodeSwitcher, read_dictionary
    from mm_kptm.crosslingual.corpora.language_sampling import drawn, shares
    from mm_kptm.crosslingual.corpora.token_stream import TokenStream
else:
    __getattr__ = lazy(
        __name__,
        {
            "bitext": ["EncodedSentence", "every_pair", "monolingual", "sentence_pairs", "translations"],
            "code_switching": ["CodeSwitcher", "read_dictionary"],
            "language_sampling": ["drawn", "shares"],
            "token_stream": ["TokenStream"],
        },
    )

__all__ = [
    "CodeSwitcher",
    "EncodedSentence",
    "TokenStream",
    "drawn",
    "every_pair",
    "monolingual",
    "read_dictionary",
    "sentence_pairs",
    "shares",
    "translations",
]
