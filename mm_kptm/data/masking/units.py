"""Mask groups of word pieces: words, phrases and entities, masked and predicted as wholes.

Every function returns one number per piece: pieces with the same number are one group, and a piece of :data:`NO_GROUP`
is in none. :class:`~mm_kptm.batch.Tokens` carry the numbers as ``mask_groups``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate

from mm_kptm.errors import UserError

NO_GROUP = -1
OUTSIDE, BEGIN, INSIDE = -1, 0, 1  #: labels in ERNIE's files: separators, first pieces of groups, the others


def whole_words(pieces: Sequence[str], *, alone: frozenset[str] = frozenset({"[CLS]", "[SEP]"})) -> list[int]:
    """Words of WordPiece: a piece with ``##`` belongs to the word before it (Devlin et al., whole-word models of 2019).

    As in the released script, separators (``alone``) are in no unit and do not end a word, and a first piece with
    ``##`` opens one.

    >>> whole_words(["[CLS]", "un", "##afford", "##able", "art", "[SEP]"])
    [-1, 0, 0, 0, 1, -1]
    """
    units, last = [], -1
    for piece in pieces:
        if piece in alone:
            units.append(NO_GROUP)
            continue
        last += last < 0 or not piece.startswith("##")
        units.append(last)
    return units


def joins(vocabulary: Iterable[str]) -> bool:
    """Whether the vocabulary marks pieces that continue a word by ``##``."""
    return any(piece.startswith("##") for piece in vocabulary)


def continued(characters: Sequence[str], words: Iterable[str]) -> list[str]:
    """Characters with ``##`` before each that continues a word: BERT-wwm's Chinese (Cui et al. 2021, section 3.1).

    The marks are for :func:`whole_words` only: the ids stay those of the plain characters.

    Args:
        characters: of a sentence.
        words: of the same sentence, by any segmenter.

    Raises:
        UserError: the words are not made of these characters.

    >>> continued(["使", "用", "词"], ["使用", "词"])
    ['使', '##用', '词']
    """
    words = list(words)
    if "".join(characters) != "".join(words):
        raise UserError(
            f"the words {' '.join(words)[:40]!r} are not made of the characters {''.join(characters)[:40]!r}"
        )
    starts = {0, *accumulate(map(len, words))}
    places = accumulate(map(len, characters), initial=0)
    return [text if place in starts else f"##{text}" for text, place in zip(characters, places, strict=False)]


def within_spans(pieces: Sequence[tuple[int, int]], spans: Iterable[tuple[int, int]]) -> list[int]:
    """Pieces inside the same character span are one group; a piece outside all spans is a group of its own.

    Words, phrases and linked entities are all given as character spans.

    Args:
        pieces: first character of each, and the one after its last
            (:attr:`~mm_kptm.data.tokenizers.protocol.Pieces.spans`).
        spans: spans of the groups, in any order; where two overlap, the first one counts.

    >>> within_spans([(0, 3), (4, 7), (7, 9), (10, 12)], [(4, 9)])
    [0, 1, 1, 2]
    """
    spans = list(spans)
    numbers: dict[tuple[int, int] | int, int] = {}
    units = []
    for place, (start, stop) in enumerate(pieces):
        home = next((span for span in spans if span[0] <= start and stop <= span[1] and start < stop), place)
        units.append(numbers.setdefault(home, len(numbers)))
    return units


def labelled(labels: Sequence[int]) -> list[int]:
    """Groups from the labels of ERNIE's files: 0 begins one, 1 continues it, -1 is in none (Sun et al. 2019).

    >>> labelled([-1, 0, 1, 0, -1, 0])
    [-1, 0, 0, 1, -1, 2]
    """
    units, last, open_ = [], -1, False
    for label in labels:
        last += label == BEGIN or (label == INSIDE and not open_)
        open_ = label != OUTSIDE
        units.append(last if open_ else NO_GROUP)
    return units


def closed(labels: Sequence[int]) -> list[int]:
    """The groups that the released ERNIE code uses, fewer than those in its files (:func:`labelled`).

    Position 0 encodes "no open group", so no group begins there; a group not followed by another one or a separator is
    skipped.

    >>> closed([-1, 0, 1, 0, -1, 0])
    [-1, 0, 0, 1, -1, -1]
    """
    units = [NO_GROUP] * len(labels)
    begin, count = 0, 0
    for place, label in enumerate(labels):
        if label == INSIDE:
            continue
        if begin:
            units[begin:place] = [count] * (place - begin)
            count += 1
        begin = 0 if label == OUTSIDE else place
    return units
