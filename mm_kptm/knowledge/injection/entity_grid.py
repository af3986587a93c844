"""Entities on the token grid: from mentions in a text to one entity per token.

Mentions have character offsets; an entity is placed at one token of its mention, or at none. The rule is a
:data:`Placement`: :func:`first_pieces` for new experiments, :func:`word_starts` as in the released ERNIE.

Shapes: T token rows, N entities of a table, E entity dim.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from mm_kptm.data.tokenizers.protocol import Pieces


class Mention(NamedTuple):
    """Mention: a character span of a text and its entity."""

    entity: str
    start: int  #: first character
    end: int  #: one past the last character
    score: float = 1.0  #: confidence of the linker


Placed = list[str | None]  #: entity of every token


Placement = Callable[[str, Pieces, Sequence[Mention]], Placed]


def first_pieces(text: str, pieces: Pieces, mentions: Sequence[Mention]) -> Placed:
    """Place an entity at the first token that starts inside its mention; the first mention wins.

    >>> first_pieces("(Rome)", Pieces((5, 6, 7), ("(", "rome", ")"), ((0, 1), (1, 5), (5, 6))), [Mention("Q220", 1, 5)])
    [None, 'Q220', None]
    """
    placed: Placed = [None] * len(pieces.ids)
    starts = [start for start, _ in pieces.spans]
    for mention in mentions:
        piece = bisect_left(starts, mention.start)
        if piece < len(starts) and starts[piece] < mention.end and placed[piece] is None:
            placed[piece] = mention.entity
    return placed


def word_starts(text: str, pieces: Pieces, mentions: Sequence[Mention]) -> Placed:
    """Place an entity at the first token of the whitespace-separated word that starts where its mention starts.

    The rule of the released code: a mention after a bracket or a quotation mark is lost, the end of a mention does not
    matter, and of mentions with the same start the last one wins.
    """
    words = _words(text)
    starts = {words.kept_from(mention.start): mention.entity for mention in mentions}
    return [starts.get(word) if word != before else None for before, word in pairwise([-1, *words.of(pieces)])]


def whole_words(text: str, pieces: Pieces, mentions: Sequence[Mention]) -> Placed:
    """Place an entity at all tokens, up to punctuation, of every whitespace-separated word that starts in its mention.

    The released code's second rule, which only tests whether the target of entity typing is still in a truncated text.
    Of two mentions of one entity, the last one wins.
    """
    spans = {mention.entity: mention for mention in mentions}
    placed: Placed = []
    for (before, word), piece in zip(pairwise([-1, *_words(text).of(pieces)]), pieces.texts, strict=True):
        if word != before:
            named = next((name for name, span in spans.items() if span.start <= word < span.end), None)
        elif not (piece.startswith("##") and len(piece) > 2):
            named = None  # after punctuation: no entity for the rest of the word
        placed.append(named)
    return placed


class _Words(NamedTuple):
    """Word starts in a text, and the characters that the tokenizer keeps."""

    kept: list[int]
    starts: list[int]

    def kept_from(self, place: int) -> int:
        """First kept character from ``place`` on, -1 if there is none."""
        at = bisect_left(self.kept, place)
        return self.kept[at] if at < len(self.kept) else -1

    def of(self, pieces: Pieces) -> list[int]:
        """Start of the word of every token."""
        return [self.starts[bisect_right(self.starts, start) - 1] for start, _ in pieces.spans]


def _words(text: str) -> _Words:
    kept = [place for place, letter in enumerate(text) if not _dropped(letter)]
    starts = [
        place
        for before, place in zip([None, *kept], kept, strict=False)
        if not _blank(text[place]) and (before is None or _blank(text[before]))
    ]
    return _Words(kept, starts)


def _blank(letter: str) -> bool:
    return letter in "\t\n\r" or unicodedata.category(letter) == "Zs"


def _dropped(letter: str) -> bool:
    """Whether BERT's tokenizer removes the character."""
    return letter not in "\t\n\r" and (letter == "\ufffd" or unicodedata.category(letter).startswith("C"))
