"""Signs in a text that stand for one piece each, whatever a tokenizer would make of their letters."""

from __future__ import annotations

import re
from collections.abc import Mapping

from mm_kptm.data.tokenizers.protocol import Pieces, Tokenizer


class PlaceholderTokenizer:
    """A tokenizer to which some signs are pieces, found wherever they stand; spaces before one are dropped.

    What stands between two signs is cut by itself. Pieces that spaces belong to, as RoBERTa's, so keep the space that
    stands behind a sign, and none is left over before it.

    Args:
        tokenizer: cuts everything else.
        signs: what stands in texts, and its id.
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
        """The pieces of a text, every sign being one of them."""
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
