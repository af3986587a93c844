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
    from mm_kptm.crosslingual.corpora.cleaning import Cleaned, clean, opus_rules
    from mm_kptm.crosslingual.corpora.code_switching import CodeSwitcher, read_dictionary
    from mm_kptm.crosslingual.corpora.language_sampling import drawn, shares
    from mm_kptm.crosslingual.corpora.parallel_files import read_pairs
    from mm_kptm.crosslingual.corpora.sampled_blocks import SampledBlocks
    from mm_kptm.crosslingual.corpora.token_corpus import TokenCorpus, build_corpus
    from mm_kptm.crosslingual.corpora.token_stream import TokenStream
else:
    __getattr__ = lazy(
        __name__,
        {
            "bitext": ["EncodedSentence", "every_pair", "monolingual", "sentence_pairs", "translations"],
            "cleaning": ["Cleaned", "clean", "opus_rules"],
            "code_switching": ["CodeSwitcher", "read_dictionary"],
            "language_sampling": ["drawn", "shares"],
            "parallel_files": ["read_pairs"],
            "sampled_blocks": ["SampledBlocks"],
            "token_corpus": ["TokenCorpus", "build_corpus"],
            "token_stream": ["TokenStream"],
        },
    )

__all__ = [
    "Cleaned",
    "CodeSwitcher",
    "EncodedSentence",
    "SampledBlocks",
    "TokenCorpus",
    "TokenStream",
    "build_corpus",
    "clean",
    "drawn",
    "every_pair",
    "monolingual",
    "opus_rules",
    "read_dictionary",
    "read_pairs",
    "sentence_pairs",
    "shares",
    "translations",
]
