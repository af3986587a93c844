"""Trie of names with one word per step, walked from all positions of a text at once.

Shapes: N names, U words of all texts, M matches.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mm_kptm.knowledge.linking.hash_table import MISSING, Keys, NumberTable

Integers = NDArray[np.integer]
Flags = NDArray[np.bool_]

_NODE_BITS = np.uint64(32)


@dataclass(frozen=True, eq=False)
class Matches:
    """Matched names as runs of words, unordered."""

    words: Integers  #: the first, [M]
    counts: Integers  #: how many, [M]
    names: Integers  #: [M]

    def __len__(self) -> int:
        return len(self.words)

    def take(self, which: Integers | Flags) -> Matches:
        """Select matches."""
        return Matches(self.words[which], self.counts[which], self.names[which])


class NameTrie:
    """Trie over sequences of symbols.

    Args:
        symbols: of all names, end to end, none negative and each below 2^32.
        lengths: of the names; one of length 0 is never met, [N].
    """

    def __init__(self, symbols: Integers, lengths: Integers) -> None:
        starts = np.cumsum(lengths) - lengths
        nodes = np.zeros(len(lengths), dtype=np.int64)
        keys: list[Keys] = []
        count = 1  # nodes, the root among them
        max_length = int(lengths.max(initial=0))
        for depth in range(max_length):
            rows = np.flatnonzero(lengths > depth)
            steps, places = np.unique(_keys(nodes[rows], symbols[starts[rows] + depth]), return_inverse=True)
            nodes[rows] = count + places
            count += len(steps)
            keys.append(steps)
        steps = np.concatenate(keys) if keys else np.zeros(0, dtype=np.uint64)
        self._next = NumberTable(steps, np.arange(1, count, dtype=np.int32))
        # every word of a text asks for the first step, so that one is a plain array
        first = symbols[starts[lengths > 0]]
        self._first = np.full(int(first.max(initial=-1)) + 1, MISSING, dtype=np.int32)
        self._first[first] = self._next(_keys(np.zeros_like(first), first))
        ends, firsts, places = np.unique(nodes, return_index=True, return_inverse=True)
        #: The number of each name: that of the first of those with the same symbols, -1 for one without any, [N].
        self.numbers: Integers = np.where(lengths > 0, firsts[places], MISSING)
        self._name = np.full(count, MISSING, dtype=np.int64)
        self._name[ends] = self.numbers[firsts]
        self._goes_on = np.zeros(count, dtype=bool)
        self._goes_on[(steps >> _NODE_BITS).astype(np.int64)] = True
        self.max_length = max_length

    def walk(self, firsts: Integers, symbols: Integers) -> Matches:
        """All matches in a text.

        Args:
            firsts: the symbol of each word where a name begins with it, :data:`MISSING` for none, [U].
            symbols: further on in a name, [U].
        """
        words = np.flatnonzero((firsts != MISSING) & (firsts < len(self._first)))
        nodes = self._first[firsts[words]]
        found = [Matches(words[:0], words[:0], nodes[:0])]
        for count in range(1, self.max_length + 1):
            on_path = nodes != MISSING
            words, nodes = words[on_path], nodes[on_path]
            names = self._name[nodes]
            ended = np.flatnonzero(names != MISSING)
            found.append(Matches(words[ended], np.full(len(ended), count), names[ended]))
            further = np.flatnonzero(self._goes_on[nodes] & (words + count < len(symbols)))
            words, nodes = words[further], nodes[further]
            steps = symbols[words + count]
            known = np.flatnonzero(steps != MISSING)
            words, nodes = words[known], self._next(_keys(nodes[known], steps[known]))
            if not len(words):
                break
        columns = ([getattr(part, name) for part in found] for name in ("words", "counts", "names"))
        return Matches(*map(np.concatenate, columns))


def _keys(nodes: Integers, symbols: Integers) -> Keys:
    return (nodes.astype(np.uint64) << _NODE_BITS) | symbols.astype(np.uint64)
