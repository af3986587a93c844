"""Texts whose lengths are skewed as those of real text are, and the same text in both forms.

Shapes: B sentences, N padded length.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mm_kptm.batch import SequenceLayout, Tokens, pad

CLS, SEP, MASK, FIRST_WORD = 101, 102, 103, 1000


def skewed_lengths(count: int, max_length: int, spread: float) -> list[int]:
    """The lengths at the quantiles of a log-normal whose greatest is ``longest``; no draw, so always the same.

    >>> skewed_lengths(4, 100, 0.5)
    [32, 48, 66, 100]
    """
    normal = statistics.NormalDist()
    places = [normal.inv_cdf((number + 0.5) / count) for number in range(count)]
    return [round(max_length * math.exp(spread * (place - places[-1]))) for place in places]


@dataclass(frozen=True)
class Texts:
    """Sentences of random words, in the order in which a reader would find them."""

    sentences: list[list[int]]

    @classmethod
    def draw(cls, lengths: list[int], vocab_size: int, generator: torch.Generator) -> Texts:
        """One sentence of each length, shuffled."""
        shuffled = [lengths[i] for i in torch.randperm(len(lengths), generator=generator).tolist()]
        return cls(
            [
                [CLS, *torch.randint(FIRST_WORD, vocab_size, (n - 2,), generator=generator).tolist(), SEP]
                for n in shuffled
            ]
        )

    @cached_property
    def by_length(self) -> list[int]:
        """Numbers of the sentences from the shortest to the longest."""
        return sorted(range(len(self.sentences)), key=lambda i: len(self.sentences[i]))

    @property
    def rows(self) -> int:
        """Real tokens."""
        return sum(map(len, self.sentences))

    def tokens(self) -> Tokens:
        """All sentences as one ragged batch, in order of length as the sampler keeps them."""
        return Tokens.of([self.sentences[i] for i in self.by_length])

    def padded(self, chosen: list[int] | None = None) -> tuple[Tensor, Tensor]:
        """Ids and attention mask of some sentences or all, both [B, N]."""
        sentences = self.sentences if chosen is None else [self.sentences[i] for i in chosen]
        layout = SequenceLayout(tuple(map(len, sentences)))
        ids = pad(torch.tensor([i for sentence in sentences for i in sentence]), layout)
        return ids, pad(torch.ones(layout.total, dtype=torch.long), layout)

    def buckets(self, count: int) -> list[list[int]]:
        """The sentences in order of length, in ``count`` batches of equal size."""
        size = math.ceil(len(self.sentences) / count)
        return [self.by_length[start : start + size] for start in range(0, len(self.sentences), size)]
