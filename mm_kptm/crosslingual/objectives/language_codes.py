"""Positions of language codes in mBART's sources and targets.

Shapes: B texts, T rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mm_kptm.batch import Tokens


def code_last(texts: Iterable[Sequence[int]], *, stop: int, code: int) -> list[list[int]]:
    """``X </s> [code]``: sources and labels of mBART (Liu et al. 2020, section 2.2).

    >>> code_last([[7, 8]], stop=2, code=57)
    [[7, 8, 2, 57]]
    """
    return [[*text, stop, code] for text in texts]


def code_first(texts: Iterable[Sequence[int]], *, stop: int, code: int) -> list[list[int]]:
    """``[code] X </s>``: sources and labels of mBART-50 (Tang et al. 2021).

    >>> code_first([[7, 8]], stop=2, code=57)
    [[57, 7, 8, 2]]
    """
    return [[code, *text, stop] for text in texts]


def last_moved_first(labels: Iterable[Sequence[int]]) -> list[list[int]]:
    """Decoder inputs for these labels: the last token moved to the front.

    >>> last_moved_first([[7, 8, 2, 57]])
    [[57, 7, 8, 2]]
    """
    return [[*label[-1:], *label[:-1]] for label in labels]


def written(labels: Iterable[Sequence[int]]) -> Tokens:
    """The target from which each next token is predicted, the last label included: ``[code] Y </s> [code]``."""
    return Tokens.of([[*label[-1:], *label] for label in labels])
