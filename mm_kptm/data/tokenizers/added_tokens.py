"""Placeholders in texts that become one added token each."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mm_kptm.data.tokenizers.protocol import Pieces, Tokenizer


class PlaceholderTokenizer:
    """Tokenizer with added placeholder tokens; spaces before one are dropped.

    Text between two placeholders is tokenized separately, so that byte-level tokenizers (RoBERTa) keep the space after
    a placeholder and drop the one before it.

    Args:
        tokenizer: tokenizes everything else.
        signs: placeholders in texts, with their ids.
    """

    def __init__(self, tokenizer: Tokenizer, signs: Mapping[str, int]) -> None:
        self.tokenizer = tokenizer
        self.specials = tokenizer.specials
        self.vocabulary = tokenizer.vocabulary
        self._signs = dict(signs)
        self._sign = re.compile(f"({'|'.join(map(re.escape, signs))})")

    def __len__(self) -> int:
        return len(self.tokenizer)

    def encode(self, text: str, language: str | None = None) -> Pieces:
        """The pieces of a text, each placeholder being one."""
        ids: list[int] = []
        texts: list[str] = []
        spans: list[tuple[int, int]] = []
        start = 0
        for part in self._sign.split(text):
            if part in self._signs:
                ids.append(self._signs[part])
                texts.append(part)
                spans.append((start, start + len(part)))
            else:
                pieces = self.tokenizer.encode(part.rstrip(), language)
                ids += pieces.ids
                texts += pieces.texts
                spans += ((first + start, end + start) for first, end in pieces.spans)
            start += len(part)
        return Pieces(tuple(ids), tuple(texts), tuple(spans))
