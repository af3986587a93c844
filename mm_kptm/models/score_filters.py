"""Filters of next-token scores: prefixes, forbidden words, lengths, and the cuts of sampling.

Shapes: K hypotheses, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Protocol

import torch
from torch import Tensor

from mm_kptm.errors import UserError

Texts = Sequence[Sequence[int]]  #: the tokens of every hypothesis so far, its start token included


class ScoreFilter(Protocol):
    """Changes the scores of the next token, before the best is taken or one is drawn."""

    def __call__(self, scores: Tensor, texts: Texts, source_ids: Sequence[int]) -> Tensor:
        """New scores [K, V]; ``source_ids`` name the source of every hypothesis."""


def filtered(scores: Tensor, texts: Texts, source_ids: Sequence[int], filters: Sequence[ScoreFilter]) -> Tensor:
    """The scores after all filters, in their order."""
    for one in filters:
        scores = one(scores, texts, source_ids)
    return scores


@dataclass(frozen=True)
class Prefixes:
    """Tokens that the text of each source begins with; they have probability 1 and need not be equally long.

    Args:
        tokens: of every source, the start token first.

    Raises:
        UserError: a prefix without a token.
    """

    tokens: Sequence[Sequence[int]]

    def __post_init__(self) -> None:
        if not all(self.tokens):
            raise UserError("a prefix begins with the start token, but one is empty")

    def __call__(self, scores: Tensor, texts: Texts, source_ids: Sequence[int]) -> Tensor:
        forced = [
            (row, self.tokens[owner][len(text)])
            for row, (text, owner) in enumerate(zip(texts, source_ids, strict=True))
            if len(text) < len(self.tokens[owner])
        ]
        if not forced:
            return scores
        rows, ids = torch.tensor(forced, device=scores.device).unbind(1)
        certain = scores.clone()
        certain[rows] = -inf
        certain[rows, ids] = 0.0
        return certain


@dataclass(frozen=True)
class BadWords:
    """Words that are never written; of a word of several tokens the last is refused behind the others.

    Args:
        words: token ids of every word.

    Raises:
        UserError: a word without a token.
    """

    words: Sequence[Sequence[int]]

    def __post_init__(self) -> None:
        if not all(self.words):
            raise UserError("a word that is not to be written has one token at least, but one is empty")

    def __call__(self, scores: Tensor, texts: Texts, source_ids: Sequence[int]) -> Tensor:
        refused = torch.zeros_like(scores, dtype=torch.bool)
        for word in self.words:
            *before, last = word
            for row, text in enumerate(texts):
                if not before or list(text[-len(before) :]) == before:
                    refused[row, last] = True
        return scores.masked_fill(refused, -inf)


@dataclass(frozen=True)
class MinLength:
    """No stop token before the text has so many tokens, the start token included."""

    length: int
    stop: int

    def __call__(self, scores: Tensor, texts: Texts, source_ids: Sequence[int]) -> Tensor:
        short = torch.tensor([len(text) < self.length for text in texts], device=scores.device)
        refused = torch.zeros_like(scores, dtype=torch.bool)
        refused[:, self.stop] = short
        return scores.masked_fill(refused, -inf)


@dataclass(frozen=True)
class NoRepeatedNgrams:
    """No sequence of ``size`` tokens twice in a text (Paulus et al. 2018)."""

    size: int

    def __call__(self, scores: Tensor, texts: Texts, source_ids: Sequence[int]) -> Tensor:
        refused = torch.zeros_like(scores, dtype=torch.bool)
        for row, text in enumerate(texts):
            end = tuple(text[len(text) - self.size + 1 :]) if self.size > 1 else ()
            for start in range(len(text) - self.size + 1):
                if tuple(text[start : start + self.size - 1]) == end:
                    refused[row, text[start + self.size - 1]] = True
        return scores.masked_fill(refused, -inf)


@dataclass(frozen=True)
class Temperature:
    """Scores divided by a temperature: below 1 likely tokens become likelier.

    Raises:
        UserError: it is not above 0.
    """

    value: float

    def __post_init__(self) -> None:
        if not self.value > 0:
            raise UserError(f"a temperature is above 0, not {self.value}; take greedy search in place of 0")

    def __call__(self, scores: Tensor, texts: Texts, source_ids: Sequence[int]) -> Tensor:
        return scores / self.value


@dataclass(frozen=True)
class TopK:
    """Only the ``count`` best tokens (Fan et al. 2018).

    Raises:
        UserError: ``count`` is below 1.
    """

    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UserError(f"a draw needs at least one of the best tokens, not the {self.count} best")

    def __call__(self, scores: Tensor, texts: Texts, source_ids: Sequence[int]) -> Tensor:
        least = scores.topk(min(self.count, scores.shape[1])).values[:, -1:]
        return scores.masked_fill(scores < least, -inf)


@dataclass(frozen=True)
class TopP:
    """Only the fewest best tokens that have the probability ``mass`` together (Holtzman et al. 2020, nucleus sampling).

    Raises:
        UserError: ``mass`` is outside (0, 1].
    """

    mass: float

    def __post_init__(self) -> None:
        if not 0 < self.mass <= 1:
            raise UserError(f"a draw is among tokens of a probability above 0 and up to 1, not {self.mass}")

    def __call__(self, scores: Tensor, texts: Texts, source_ids: Sequence[int]) -> Tensor:
        ordered, places = scores.sort(dim=1)  # rising
        rest = ordered.softmax(-1).cumsum(-1) <= 1 - self.mass
        rest[:, -1] = False
        return scores.masked_fill(torch.zeros_like(rest).scatter(1, places, rest), -inf)
