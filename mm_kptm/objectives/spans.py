"""Span masking: SpanBERT's spans (Joshi et al. 2020) and MacBERT's n-grams (Cui et al. 2020).

A rule draws the masked rows of one sequence from its words; :class:`~mm_kptm.objectives.tokens.Masking` does the rest.

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

Words = Sequence[Sequence[int]]  #: the rows of every maskable word of a sequence, in order


class RunRule(Protocol):
    """Rule that draws the masked rows of a sequence."""

    def __call__(self, words: Words, generator: torch.Generator) -> set[int]:
        """The masked rows, out of ``words``."""


def geometric(p: float = 0.2, max_length: int = 10) -> tuple[float, ...]:
    """Truncated geometric distribution of lengths 1 to ``max_length``, normalised (Joshi et al. 2020, section 3.1).

    >>> [round(probability, 2) for probability in geometric(0.5, 3)]
    [0.57, 0.29, 0.14]
    """
    weights = [p * (1 - p) ** place for place in range(max_length)]
    return tuple(weight / sum(weights) for weight in weights)


@dataclass(frozen=True)
class CutSpans:
    """SpanBERT's rule: spans of whole words at uniform starts until a share of the rows is masked.

    As in the released code, a span starts at the word around a uniform row, rows already masked are drawn again, spans
    may touch or overlap, the share is rounded up and the last span is cut at it.

    Args:
        lengths: probabilities of span lengths of one word, two words, and so on.
        rate: share of the rows that is masked.

    Raises:
        UserError: the probabilities are negative or all zero, or the rate is outside (0, 1).
    """

    lengths: tuple[float, ...] = geometric()
    rate: float = 0.15

    def __post_init__(self) -> None:
        _check(self.lengths, self.rate)

    def __call__(self, words: Words, generator: torch.Generator) -> set[int]:
        """See :class:`RunRule`."""
        words_of_rows = [(row, word) for word, rows in enumerate(words) for row in rows]
        room = math.ceil(self.rate * len(words_of_rows))
        masked: set[int] = set()
        # rows in random order, masked ones skipped, equal rows redrawn until one is unmasked
        for anchor, length in _drawn(len(words_of_rows), self.lengths, generator):
            row, word = words_of_rows[anchor]
            if row in masked:
                continue
            for row in chain(*words[word : word + length]):
                if len(masked) == room:
                    return masked
                masked.add(row)
        return masked


@dataclass(frozen=True)
class WholeGrams:
    """MacBERT's rule: word n-grams at uniform starts within a share of the rows; longer ones are shortened.

    Lengths of Cui et al. (2020, section 3.1). The code was not released: n-grams that exceed the share or overlap are
    treated as in ALBERT's released script (Lan et al. 2020).

    Args:
        lengths: probabilities of span lengths of one word, two words, and so on.
        rate: share of the rows that is masked; at least one row.

    Raises:
        UserError: the probabilities are negative or all zero, or the rate is outside (0, 1).
    """

    lengths: tuple[float, ...] = (0.4, 0.3, 0.2, 0.1)
    rate: float = 0.15

    def __post_init__(self) -> None:
        _check(self.lengths, self.rate)

    def __call__(self, words: Words, generator: torch.Generator) -> set[int]:
        """See :class:`RunRule`."""
        room = max(1, round(self.rate * sum(map(len, words))))
        masked: set[int] = set()
        for first, length in _drawn(len(words), self.lengths, generator):
            if len(masked) == room:
                break
            fitting = (set(chain(*words[first : first + count])) for count in range(length, 0, -1))
            gram = next((rows for rows in fitting if len(masked) + len(rows) <= room), None)
            if gram is not None and masked.isdisjoint(gram):
                masked |= gram
        return masked


Grouping = Callable[
    [Tensor, Tensor, SequenceLayout], Tensor
]  #: from masked rows and words to the mask groups that are treated alike


def touching(masked: Tensor, words: Tensor, layout: SequenceLayout) -> Tensor:
    """Mask groups of contiguous masked rows, -1 for other rows, [T]."""
    words_of_rows = layout.sequence_ids(masked.device)
    begins = masked.clone()
    begins[1:] &= ~(masked[:-1] & (words_of_rows[:-1] == words_of_rows[1:]))
    return torch.where(masked, begins.cumsum(0) - 1, -1)


def word_by_word(masked: Tensor, words: Tensor, layout: SequenceLayout) -> Tensor:
    """Mask groups of masked words, -1 for other rows, [T]."""
    return torch.where(masked, words, -1)


@dataclass(frozen=True)
class RunMasking:
    """Masking of runs of words; every group of ``together`` is masked, replaced or kept as a whole.

    Args:
        masking: replaces the masked rows.
        rule: draws the masked rows of a sequence.
        together: rows treated alike: :func:`touching` rows (SpanBERT) or words (MacBERT).
    """

    masking: Masking
    rule: RunRule
    together: Grouping = touching

    def mask(self, tokens: Tokens, generator: torch.Generator) -> tuple[Tokens, Tensor]:
        """See :meth:`mm_kptm.objectives.tokens.Masking.mask`; words are the mask groups of the tokens."""
        words = torch.arange(len(tokens.ids)) if tokens.mask_groups is None else tokens.mask_groups
        maskable = self.masking.maskable(tokens, words)
        masked = torch.zeros_like(maskable)
        for first, length in zip(tokens.layout.offsets, tokens.layout.lengths, strict=False):
            rows = [first + place for place in maskable[first : first + length].nonzero().squeeze(1).tolist()]
            masked[sorted(self.rule(_by_word(rows, words), generator))] = True
        return self.masking.mask(tokens, generator, groups=self.together(masked, words, tokens.layout))


def everything(mask_id: int, pool: tuple[int, int], never: frozenset[int]) -> Masking:
    """The :class:`~mm_kptm.objectives.tokens.Masking` of a :class:`RunMasking`: masks every group as a whole."""
    return Masking(mask_id, pool=pool, never=never, policy=Bernoulli(1.0), mask_units_alike=True)


def _by_word(rows: Sequence[int], words: Tensor) -> list[list[int]]:
    found: dict[int, list[int]] = {}
    for row, word in zip(rows, words[list(rows)].tolist(), strict=True):
        found.setdefault(word, []).append(row)
    return list(found.values())


def _drawn(count: int, lengths: tuple[float, ...], generator: torch.Generator) -> zip[tuple[int, int]]:
    """Every index once in random order, each with a length."""
    order = torch.randperm(count, generator=generator).tolist()
    if not order:
        return zip(order, order, strict=True)
    drawn = torch.multinomial(torch.tensor(lengths), count, replacement=True, generator=generator)
    return zip(order, (drawn + 1).tolist(), strict=True)


def _check(lengths: tuple[float, ...], rate: float) -> None:
    if not lengths or min(lengths) < 0 or sum(lengths) <= 0:
        raise UserError(f"the chances of lengths are {list(lengths)}; none may be negative and one must be above 0")
    if not 0 < rate < 1:
        raise UserError(f"a share of {rate} was to be masked, but it must lie above 0 and below 1")
