"""Recurrent layers on ragged rows.

Shapes: T rows, B sequences, L layers, N directions, D dim, H width of one direction.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence, unpack_sequence

from mm_kptm.batch import SequenceLayout


class RecurrentStates(NamedTuple):
    """States of every row, and the last ones of every layer; both directions side by side."""

    x: Tensor  #: [T, N H]
    hidden: Tensor  #: [L, B, N H]
    cells: Tensor  #: [L, B, N H]


class Lstm(nn.LSTM):
    """Stacked LSTM (Hochreiter and Schmidhuber 1997) without padding: each sequence ends where it ends.

    Args:
        dim: width of the rows.
        hidden_dim: width of one direction.
        num_layers: number of layers.
        dropout: between layers.
        bidirectional: whether a second direction reads each sequence from its end.
    """

    def __init__(
        self, dim: int, hidden_dim: int, num_layers: int, *, dropout: float = 0.0, bidirectional: bool = True
    ) -> None:
        between = dropout if num_layers > 1 else 0.0
        super().__init__(dim, hidden_dim, num_layers, dropout=between, bidirectional=bidirectional)

    def read(self, x: Tensor, layout: SequenceLayout) -> RecurrentStates:
        """The states of the rows [T, D] of every sequence."""
        packed = pack_sequence(list(layout.split(x)), enforce_sorted=False)
        out, (hidden, cells) = self(packed)
        assert isinstance(out, PackedSequence)
        return RecurrentStates(torch.cat(unpack_sequence(out)), self._side_by_side(hidden), self._side_by_side(cells))

    def _side_by_side(self, states: Tensor) -> Tensor:
        """The directions [N L, B, H] of each layer as [L, B, N H]."""
        return states.unflatten(0, (-1, 2 if self.bidirectional else 1)).transpose(1, 2).flatten(2)
