"""Hiding runs of neighbouring words: SpanBERT's spans (Joshi et al. 2020) and MacBERT's n-grams (Cui et al. 2020).

A rule takes the words of one sequence and answers which rows are hidden; the masking engine does the rest.

Shapes: T token rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

import torch
from torch import Tensor

from mm_kptm.batch import SequenceLayout, Tokens
from mm_kptm.errors import UserError
from mm_kptm.objectives.tokens import Bernoulli, Masking

Words = Sequence[Sequence[int]]  #: the rows of every word of a sequence that may be hidden, in order


class RunRule(Protocol):
    """Which rows of a sequence are hidden."""

    def __call__(self, words: Words, generator: torch.Generator) -> set[int]:
        """Rows out of ``words``."""


def geometric(p: float = 0.2, max_length: int = 10) -> tuple[float, ...]:
    """The chances of lengths 1 to ``longest``, :math:`p (1 - p)^{l - 1}` brought to sum to 1 (Joshi et al. 2020, 3.1).

    >>> [round(chance, 2) for chance in geometric(0.5, 3)]
    [0.57, 0.29, 0.14]
    """
    chances = [p * (1 - p) ** place for place in range(max_length)]
    return tuple(chance / sum(chances) for chance in chances)


@dataclass(frozen=True)
class CutSpans:
    """Spans of whole words from uniform beginnings until a share of the rows is hidden; the last one is cut there.

    SpanBERT's, as its released code has it: the beginning is that of the word around a uniform row, a row that is
    hidden already is drawn again, spans may run into each other, and the share is rounded up.

    Args:
        lengths: the chances of one word, of two, and so on.
        rate: share of the rows.

    Raises:
        UserError: the chances are not positive, or the rate is no share.
    """

    lengths: tuple[float, ...] = geometric()
    rate: float = 0.15

    def __post_init__(self) -> None:
        _check(self.lengths, self.rate)

    def __call__(self, words: Words, generator: torch.Generator) -> set[int]:
        """See :class:`RunRule`."""
        owners = [(row, word) for word, rows in enumerate(words) for row in rows]
        room = math.ceil(self.rate * len(owners))
        hidden: set[int] = set()
        # the rows in random order, hidden ones passed over, are rows drawn until one is not hidden
        for anchor, length in _drawn(len(owners), self.lengths, generator):
            row, word = owners[anchor]
            if row in hidden:
                continue
            for row in chain(*words[word : word + length]):
                if len(hidden) == room:
                    return hidden
                hidden.add(row)
        return hidden


@dataclass(frozen=True)
class WholeGrams:
    """N-grams of whole words from uniform beginnings while a share of the rows allows; one too long loses words.

    MacBERT's lengths (Cui et al. 2020, section 3.1). Its code was not released: n-grams that would not fit, or would
    hide a row twice, are treated as ALBERT's released script does (Lan et al. 2020).

    Args:
        lengths: the chances of one word, of two, and so on.
        rate: share of the rows; at least one is hidden.

    Raises:
        UserError: the chances are not positive, or the rate is no share.
    """

    lengths: tuple[float, ...] = (0.4, 0.3, 0.2, 0.1)
    rate: float = 0.15

    def __post_init__(self) -> None:
        _check(self.lengths, self.rate)

    def __call__(self, words: Words, generator: torch.Generator) -> set[int]:
        """See :class:`RunRule`."""
        room = max(1, round(self.rate * sum(map(len, words))))
        hidden: set[int] = set()
        for first, length in _drawn(len(words), self.lengths, generator):
            if len(hidden) == room:
                break
            fitting = (set(chain(*words[first : first + count])) for count in range(length, 0, -1))
            gram = next((rows for rows in fitting if len(hidden) + len(rows) <= room), None)
            if gram is not None and hidden.isdisjoint(gram):
                hidden |= gram
        return hidden


Grouping = Callable[
    [Tensor, Tensor, SequenceLayout], Tensor
]  #: from what is hidden, and words, to what is decided together


def touching(hidden: Tensor, words: Tensor, layout: SequenceLayout) -> Tensor:
    """Hidden rows without a gap between them are one unit, others are in none, [T]."""
    owners = layout.sequence_ids(hidden.device)
    begins = hidden.clone()
    begins[1:] &= ~(hidden[:-1] & (owners[:-1] == owners[1:]))
    return torch.where(hidden, begins.cumsum(0) - 1, -1)


def word_by_word(hidden: Tensor, words: Tensor, layout: SequenceLayout) -> Tensor:
    """Hidden words are units, others are in none, [T]."""
    return torch.where(hidden, words, -1)


@dataclass(frozen=True)
class RunMasking:
    """Hides runs of words that a rule draws; every unit of ``together`` is masked, replaced or kept as a whole.

    Args:
        masking: what stands in the place of hidden rows.
        rule: draws the rows of a sequence.
        together: what is treated alike: :func:`touching` rows (SpanBERT) or a word (MacBERT).
    """

    masking: Masking
    rule: RunRule
    together: Grouping = touching

    def mask(self, tokens: Tokens, generator: torch.Generator) -> tuple[Tokens, Tensor]:
        """See :meth:`mm_kptm.objectives.tokens.Masking.hide`; words are the units of the tokens."""
        words = torch.arange(len(tokens.ids)) if tokens.mask_groups is None else tokens.mask_groups
        may = self.masking.maskable(tokens, words)
        hidden = torch.zeros_like(may)
        for first, length in zip(tokens.layout.offsets, tokens.layout.lengths, strict=False):
            rows = [first + place for place in may[first : first + length].nonzero().squeeze(1).tolist()]
            hidden[sorted(self.rule(_by_word(rows, words), generator))] = True
        return self.masking.mask(tokens, generator, groups=self.together(hidden, words, tokens.layout))


def everything(mask_id: int, pool: tuple[int, int], never: frozenset[int]) -> Masking:
    """The engine for a :class:`RunMasking`: whatever is in a unit is hidden, and treated as its unit is."""
    return Masking(mask_id, pool=pool, never=never, policy=Bernoulli(1.0), mask_units_alike=True)


def _by_word(rows: Sequence[int], words: Tensor) -> list[list[int]]:
    found: dict[int, list[int]] = {}
    for row, word in zip(rows, words[list(rows)].tolist(), strict=True):
        found.setdefault(word, []).append(row)
    return list(found.values())


def _drawn(count: int, lengths: tuple[float, ...], generator: torch.Generator) -> zip[tuple[int, int]]:
    """Every place once in random order, each with a length."""
    order = torch.randperm(count, generator=generator).tolist()
    if not order:
        return zip(order, order, strict=True)
    drawn = torch.multinomial(torch.tensor(lengths), count, replacement=True, generator=generator)
    return zip(order, (drawn + 1).tolist(), strict=True)


def _check(lengths: tuple[float, ...], rate: float) -> None:
    if not lengths or min(lengths) < 0 or sum(lengths) <= 0:
        raise UserError(f"the chances of lengths are {list(lengths)}; none may be negative and one must be above 0")
    if not 0 < rate < 1:
        raise UserError(f"a share of {rate} was to be hidden, but it must lie above 0 and below 1")
