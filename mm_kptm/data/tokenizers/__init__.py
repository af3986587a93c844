"""Tokenizers of published checkpoints behind one protocol: WordPiece, byte-level BPE, fastBPE and others."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.data.tokenizers.added_tokens import PlaceholderTokenizer
    from mm_kptm.data.tokenizers.byte_level import open_byte_level
    from mm_kptm.data.tokenizers.clip_bpe import ClipBpe
    from mm_kptm.data.tokenizers.fastbpe import FastBpe
    from mm_kptm.data.tokenizers.joining import running_text
    from mm_kptm.data.tokenizers.laser import LaserTokenizer
    from mm_kptm.data.tokenizers.opening import holds_tokenizer, open_tokenizer, tokenizer_files
    from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS, Pieces, Specials, Tokenizer, framed
    from mm_kptm.data.tokenizers.tokenizer_json import ROBERTA_SPECIALS, TokenizerJson
    from mm_kptm.data.tokenizers.word_level import WordLevel
    from mm_kptm.data.tokenizers.wordpiece import WordPiece
else:
    __getattr__ = lazy(
        __name__,
        {
            "added_tokens": ["PlaceholderTokenizer"],
            "byte_level": ["open_byte_level"],
            "clip_bpe": ["ClipBpe"],
            "fastbpe": ["FastBpe"],
            "opening": ["holds_tokenizer", "open_tokenizer", "tokenizer_files"],
            "protocol": ["BERT_SPECIALS", "Pieces", "Specials", "Tokenizer", "framed"],
            "joining": ["running_text"],
            "laser": ["LaserTokenizer"],
            "tokenizer_json": ["ROBERTA_SPECIALS", "TokenizerJson"],
            "word_level": ["WordLevel"],
            "wordpiece": ["WordPiece"],
        },
    )

__all__ = [
    "BERT_SPECIALS",
    "ROBERTA_SPECIALS",
    "ClipBpe",
    "FastBpe",
    "LaserTokenizer",
    "Pieces",
    "PlaceholderTokenizer",
    "Specials",
    "Tokenizer",
    "TokenizerJson",
    "WordLevel",
    "WordPiece",
    "framed",
    "holds_tokenizer",
    "open_byte_level",
    "open_tokenizer",
    "running_text",
    "tokenizer_files",
]
