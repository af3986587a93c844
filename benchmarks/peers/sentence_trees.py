"""K-BERT's inputs by the straight construction of its released code, one sentence a call: loops and a dense matrix.

Written from the description of that code; the order of facts is that of the file, where the released code has a set's.

Shapes: N padded length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LookUp = Callable[[str], Sequence[str] | None]  #: the facts of a word, None where there are none


class Inputs(NamedTuple):
    """One sentence with its facts, padded."""

    ids: list[int]  #: [N]
    positions: list[int]  #: padding stands at N - 1
    visible: NDArray[np.generic]  #: one where seen, [N, N]
    length: int  #: real tokens


class _Tree(NamedTuple):
    """Every word and its facts, by the places of their tokens."""

    ids: list[int]
    positions: list[int]
    words: list[list[int]]
    facts: list[list[list[int]]]


def _grow(words: Sequence[str], spelling: Callable[[str], list[int]], facts: LookUp, max_facts: int) -> _Tree:
    tree = _Tree([], [], [], [])
    position = 0
    for word in words:
        places = []
        for number in spelling(word):
            places.append(len(tree.ids))
            tree.ids.append(number)
            tree.positions.append(position)
            position += 1
        branches = []
        for fact in (facts(word) or ())[:max_facts]:
            branch = []
            for step, number in enumerate(spelling(fact)):
                branch.append(len(tree.ids))
                tree.ids.append(number)
                tree.positions.append(position + step)
            branches.append(branch)
        tree.words.append(places)
        tree.facts.append(branches)
    return tree


def _padded(tree: _Tree, visible: NDArray[np.generic], length: int) -> Inputs:
    real = min(len(tree.ids), length)
    ids = tree.ids[:length] + [0] * (length - real)
    positions = tree.positions[:length] + [length - 1] * (length - real)
    return Inputs(ids, positions, visible, real)


def by_loops(
    words: Sequence[str],
    spelling: Callable[[str], list[int]],
    facts: LookUp,
    *,
    max_facts: int,
    length: int,
) -> Inputs:
    """The matrix filled token by token: float64, N x N."""
    tree = _grow(words, spelling, facts, max_facts)
    count = len(tree.ids)
    visible = np.zeros((count, count))
    trunk = [place for places in tree.words for place in places]
    for places, branches in zip(tree.words, tree.facts, strict=True):
        around = [place for branch in branches for place in branch]
        for place in places:
            visible[place, trunk + around] = 1
        for branch in branches:
            for place in branch:
                visible[place, branch + places] = 1
    if count < length:
        visible = np.pad(visible, ((0, length - count), (0, length - count)), "constant")
    return _padded(tree, visible[:length, :length], length)


def by_numbers(
    words: Sequence[str],
    spelling: Callable[[str], list[int]],
    facts: LookUp,
    *,
    max_facts: int,
    length: int,
) -> Inputs:
    """What a careful user would write: the same tree, and the matrix from two numbers a token at once, as bits."""
    tree = _grow(words, spelling, facts, max_facts)
    word, branch = np.full(length, -1), np.zeros(length, dtype=np.int64)
    for number, (places, branches) in enumerate(zip(tree.words, tree.facts, strict=True)):
        for which, around in enumerate([places, *branches]):
            for place in around:
                if place < length:
                    word[place], branch[place] = number, which
    real, on_trunk = word >= 0, branch == 0
    both = on_trunk[:, None] & on_trunk
    either = on_trunk[:, None] | on_trunk
    visible = both | ((word[:, None] == word) & (either | (branch[:, None] == branch)))
    return _padded(tree, visible & real[:, None] & real, length)
