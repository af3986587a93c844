"""Entities on the token grid: from mentions in a text to one entity number a token.

A mention is told by characters; an entity stands at one token of it, or at none. Which token is a
:data:`Placement`: :func:`first_pieces` for new experiments, :func:`word_starts` as the released ERNIE has it.

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
    """Some characters of a text and the entity that they name."""

    entity: str
    start: int  #: the first character
    end: int  #: the one after the last
    score: float = 1.0  #: how sure the linker is


Placed = list[str | None]  #: the entity of every piece


Placement = Callable[[str, Pieces, Sequence[Mention]], Placed]


def first_pieces(text: str, pieces: Pieces, mentions: Sequence[Mention]) -> Placed:
    """An entity stands at the first piece that begins inside its mention; of two mentions the first one keeps it.

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
    """An entity stands at the first piece of the word, cut at blanks, that begins where its mention begins.

    The rule of the released code: a mention behind a bracket or a quotation mark is lost, its end does not matter, and
    the last of the mentions that begin together counts.
    """
    words = _words(text)
    starts = {words.kept_from(mention.start): mention.entity for mention in mentions}
    return [starts.get(word) if word != before else None for before, word in pairwise([-1, *words.of(pieces)])]


def whole_words(text: str, pieces: Pieces, mentions: Sequence[Mention]) -> Placed:
    """An entity stands at every word, cut at blanks, that begins inside its mention: at all pieces up to punctuation.

    The released code's second rule, which only asks whether the target of entity typing is still in a cut text. Of an
    entity that is mentioned twice, the last mention counts.
    """
    spans = {mention.entity: mention for mention in mentions}
    placed: Placed = []
    for (before, word), piece in zip(pairwise([-1, *_words(text).of(pieces)]), pieces.texts, strict=True):
        if word != before:
            named = next((name for name, span in spans.items() if span.start <= word < span.end), None)
        elif not (piece.startswith("##") and len(piece) > 2):
            named = None  # behind punctuation: for the rest of the word
        placed.append(named)
    return placed


class _Words(NamedTuple):
    """Where the words of a text begin; characters that a tokenizer drops belong to none."""

    kept: list[int]
    starts: list[int]

    def kept_from(self, place: int) -> int:
        """The first character from ``place`` on that the tokenizer keeps, -1 if there is none."""
        at = bisect_left(self.kept, place)
        return self.kept[at] if at < len(self.kept) else -1

    def of(self, pieces: Pieces) -> list[int]:
        """Where the word of every piece begins."""
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
    """Whether BERT's tokenizers clean the character away."""
    return letter not in "\t\n\r" and (letter == "\ufffd" or unicodedata.category(letter).startswith("C"))
