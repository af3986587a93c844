"""Static masking, as in the script released with BERT (Devlin et al. 2019).

The same :class:`random.Random` gives the same masks as that script, value by value; ERNIE of Tsinghua, BERT-wwm and
CoLAKE use it. Dynamic masking is :class:`~mm_kptm.objectives.tokens.Masking`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from mm_kptm.data.masking.units import NO_GROUP

Token = TypeVar("Token", int, str)


def budget(length: int, *, rate: float, at_most: int) -> int:
    """Number of masked tokens out of ``length``, separators counted: at least one; halves are rounded to even."""
    return min(at_most, max(1, round(length * rate)))


def shuffled(units: Sequence[int], rng: random.Random) -> list[list[int]]:
    """Positions of every mask group (:mod:`mm_kptm.data.masking.units`), groups in random order; one draw a group."""
    places: dict[int, list[int]] = {}
    for place, unit in enumerate(units):
        if unit != NO_GROUP:
            places.setdefault(unit, []).append(place)
    order = list(places.values())
    rng.shuffle(order)
    return order


def fitting(order: Sequence[Sequence[int]], count: int) -> Iterator[int]:
    """Positions of whole groups up to ``count``; a group that would exceed it is skipped."""
    for places in order:
        if len(places) <= count:
            count -= len(places)
            yield from places


@dataclass(frozen=True)
class Treatment(Generic[Token]):
    """Replacement of a masked token: the mask (80 %), the token itself (10 %) or any of ``pool`` (10 %)."""

    mask: Token
    pool: Sequence[Token]

    def __call__(self, token: Token, rng: random.Random) -> Token:
        """The replacement of a token; tokens of a group are drawn independently."""
        if rng.random() < 0.8:
            return self.mask
        return token if rng.random() < 0.5 else self.drawn(rng)

    def drawn(self, rng: random.Random) -> Token:
        """A uniform draw from the pool; it may be a special token, or the masked one."""
        return self.pool[rng.randint(0, len(self.pool) - 1)]


def mask_units(
    tokens: Sequence[Token],
    units: Sequence[int],
    treatment: Treatment[Token],
    rng: random.Random,
    *,
    rate: float = 0.15,
    at_most: int = 20,
) -> tuple[list[Token], dict[int, Token]]:
    """Mask whole groups of a sequence.

    Returns:
        The corrupted tokens, and the original token at each masked position, in order.

    >>> text = ["[CLS]", "the", "un", "##afford", "##able", "art", "[SEP]"]
    >>> mask_units(text, [-1, 0, 1, 1, 1, 2, -1], Treatment("[MASK]", ["x"]), random.Random(2), rate=0.5)[1]
    {2: 'un', 3: '##afford', 4: '##able', 5: 'art'}
    """
    order = shuffled(units, rng)
    hidden, stood = list(tokens), {}
    for place in fitting(order, budget(len(tokens), rate=rate, at_most=at_most)):
        stood[place] = tokens[place]
        hidden[place] = treatment(tokens[place], rng)
    return hidden, dict(sorted(stood.items()))
