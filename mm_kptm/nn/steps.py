"""Two streams side by side, and the steps that move them forward.

Every two-stream encoder of the suite is a list of steps. A step takes a :class:`Pair` and returns a :class:`Pair`;
which steps, in which order, is all that separates ViLBERT from LXMERT from ERNIE.

Shapes: T rows of the left stream, R rows of the right one, D and E their dims.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from mm_kptm.batch import Layout, Visibility
from mm_kptm.nn.ragged import Reading, across, reading_within


class Stream(NamedTuple):
    """The rows of one modality and how they read each other."""

    x: Tensor  #: [T, D]
    reading: Reading

    @classmethod
    def of(cls, x: Tensor, layout: Layout, sees: Visibility | None = None) -> Stream:
        """A stream whose rows see their whole sequence, or what ``sees`` allows."""
        return cls(x, reading_within(layout, sees))

    @property
    def layout(self) -> Layout:
        """Where each sequence lies."""
        return self.reading.sources


class Pair(NamedTuple):
    """The text stream and its companion: another modality, or another form of the same text."""

    left: Stream
    right: Stream


class SelfStep(nn.Module):
    """Each stream reads itself; a side without a layer waits unchanged."""

    def __init__(self, left: nn.Module | None, right: nn.Module | None) -> None:
        super().__init__()
        self.left = left
        self.right = right

    def forward(self, pair: Pair) -> Pair:
        return Pair(_alone(self.left, pair.left), _alone(self.right, pair.right))


class CrossStep(nn.Module):
    """Each stream reads the other, both as they were before the step.

    Two layers make ViLBERT's co-attention (Lu et al. 2019, section 2.2). The same layer given twice makes LXMERT's
    cross-modality sublayer, whose directions share their weights (Tan and Bansal 2019, section 2.2).
    """

    def __init__(self, left: nn.Module, right: nn.Module) -> None:
        super().__init__()
        self.left = left
        self.right = right

    def forward(self, pair: Pair) -> Pair:
        left, right = pair
        return Pair(
            left._replace(x=self.left(left.x, across(left.layout, right.layout), right.x)),
            right._replace(x=self.right(right.x, across(right.layout, left.layout), left.x)),
        )


def _alone(layer: nn.Module | None, stream: Stream) -> Stream:
    return stream if layer is None else stream._replace(x=layer(stream.x, stream.reading))
