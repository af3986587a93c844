"""Which class is a whole text or pair of texts of? What the pooled state is trained on beside the tokens.

Shapes: T token rows, B examples, C classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mm_kptm.batch import POOLED, Encoded, Inputs, Movable, Tokens
from mm_kptm.errors import UserError


@dataclass(frozen=True, eq=False)
class Classified(Movable):
    """Inputs, and the class of each example."""

    inputs: Inputs
    classes: Tensor  #: [B]

    def __len__(self) -> int:
        return len(self.inputs)


class PooledClasses(ABC):
    """An objective on the pooled state, scored by the head that is called like it."""

    name: str

    @abstractmethod
    def puzzle(self, inputs: Inputs, generator: torch.Generator) -> Classified:
        """Inputs with their classes."""

    def losses(self, system: nn.Module, puzzle: Classified) -> Tensor:
        """The cross-entropy of every example, [B]."""
        encoded: Encoded = system(puzzle.inputs, POOLED)
        scores = system.head(self.name)(encoded.pooled)  # type: ignore[operator]
        return F.cross_entropy(scores, puzzle.classes, reduction="none")

    def loss(self, system: nn.Module, puzzle: Classified) -> Tensor:
        """The mean over examples."""
        return self.losses(system, puzzle).mean()

    def measure(self, system: nn.Module, puzzle: Classified) -> Tensor:
        """The loss of each example, [B]."""
        return self.losses(system, puzzle)


class SentenceOrder(PooledClasses):
    """Do two neighbouring segments stand in their order (class 0), or were they swapped (class 1)?

    From ALBERT (Lan et al. 2020, section 3.1); MacBERT has it in place of next-sentence prediction.

    Args:
        rate: the share of pairs that are swapped.
    """

    name = "sentence-order"

    def __init__(self, *, rate: float = 0.5) -> None:
        self.rate = rate

    def puzzle(self, inputs: Inputs, generator: torch.Generator) -> Classified:
        """Swap the segments of some pairs, ``[CLS] A [SEP] B [SEP]``; the first row stays where it is.

        Raises:
            UserError: there is no text, or one has no second segment.
        """
        text = inputs.text
        if text is None:
            raise UserError(f"{self.name} swaps the parts of a text, but the inputs have none")
        swapped = torch.rand(len(inputs), generator=generator) < self.rate
        order, segments = [], []
        for number, (first, length) in enumerate(zip(text.layout.offsets, text.layout.lengths, strict=False)):
            second = first + int((text.segments[first : first + length] == 0).sum())
            if not first + 1 < second < first + length:
                raise UserError(
                    f"{self.name} swaps two parts of a text, but text {number} has one; give pairs of texts"
                )
            parts = [range(first + 1, second), range(second, first + length)]
            parts = parts[::-1] if swapped[number] else parts
            order += [first, *parts[0], *parts[1]]
            segments += [0] * (1 + len(parts[0])) + [1] * len(parts[1])
        moved = replace(reordered(text, torch.tensor(order)), segments=torch.tensor(segments))
        return Classified(replace(inputs, text=moved), swapped.long())


def reordered(tokens: Tokens, order: Tensor) -> Tokens:
    """The tokens with rows moved inside their sequences; positions and segments stay where they are.

    Args:
        order: which row stands in the place of each, [T].
    """
    return replace(
        tokens,
        ids=tokens.ids[order],
        languages=None if tokens.languages is None else tokens.languages[order],
        units=None if tokens.units is None else tokens.units[order],
        marks=None if tokens.marks is None else {name: mark[order] for name, mark in tokens.marks.items()},
    )
