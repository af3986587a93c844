"""What a system asks of its encoder.

Shapes: T rows of a batch, D dim.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from torch import Tensor

from mm_kptm.batch import Encoded, Inputs, OutputRows


class Encoder(Protocol):
    """A ``torch.nn.Module``, which a protocol cannot say, that turns inputs into final states."""

    @property
    def dim(self) -> int:
        """Width of the states of its first stream, D."""

    def __call__(self, inputs: Inputs, output_rows: OutputRows) -> Encoded:
        """Encode; the states are those of the streams that ``output_rows`` asks for."""


class HiddenState(Protocol):
    """What an encoder holds between two layers; most hold more, such as a second stream or the layout of the rows."""

    @property
    def x(self) -> Tensor:
        """The rows of its first stream, [T, D]."""


@runtime_checkable
class LayeredEncoder(Encoder, Protocol):
    """An encoder that shows its states at every depth."""

    def hidden_states(self, inputs: Inputs) -> Iterator[HiddenState]:
        """The state of all rows at every depth: as embedded, then after each layer (or step of two streams).

        A generator: a layer runs when the state behind it is asked for, so that a reader of depth 8 stops there. The
        last state is what the heads read, and depth 0 what :attr:`~mm_kptm.batch.Tokens.vectors` become with the other
        embeddings.
        """
