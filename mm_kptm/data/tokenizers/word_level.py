"""A vocabulary of whole words, learnt from texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mm_kptm.data.tokenizers.protocol import Pieces
from mm_kptm.data.tokenizers.wordpiece import _specials


class WordLevel:
    """Word-level tokenizer with a given splitting rule; unknown words become ``[UNK]``.

    Args:
        vocabulary: every word; its place is its id.
        split: the words of a lower-cased text in a language, each found in it in order.
        language: of texts whose language is not said.

    Raises:
        UserError: a special token is missing.
    """

    def __init__(
        self, vocabulary: Sequence[str], split: Callable[[str, str], Sequence[str]], *, language: str = "en"
    ) -> None:
        self.vocabulary = tuple(vocabulary)
        self._ids = {word: place for place, word in enumerate(self.vocabulary)}
        self.specials = _specials(self._ids, "the vocabulary")
        self._split = split
        self._language = language

    def __len__(self) -> int:
        return len(self.vocabulary)

    def encode(self, text: str, language: str | None = None) -> Pieces:
        """The words of a text in its language."""
        # a letter whose small form is longer than itself would shift every span behind it
        lowered = "".join(small if len(small := letter.lower()) == 1 else letter for letter in text)
        words = tuple(self._split(lowered, language or self._language))
        spans, end = [], 0
        for word in words:
            first = lowered.index(word, end)
            end = first + len(word)
            spans.append((first, end))
        ids = tuple(self._ids.get(word, self.specials.unknown) for word in words)
        return Pieces(ids, words, tuple(spans))
