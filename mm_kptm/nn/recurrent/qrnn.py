"""Quasi-recurrent layers on ragged rows: gates of all rows at once, then a recurrence without a matrix in it.

Shapes: T rows, B sequences, N longest sequence, D dim, H width of a layer.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mm_kptm.batch import SequenceLayout, pad
from mm_kptm.errors import UserError


class QrnnState(NamedTuple):
    """What a layer keeps from one window of a text to the next."""

    cells: Tensor  #: [B, H]
    previous: Tensor  #: last row of the input, [B, D]


class QrnnLayer(nn.Module):
    r"""Quasi-recurrent layer with forget and output gates (Bradbury et al. 2017, fo-pooling) as in fastai's.

    .. math:: c_t = f_t \tanh(z_t) + (1 - f_t)\, c_{t-1}, \qquad h_t = \sigma(o_t)\, c_t

    with :math:`[z, f, o] = W [x_t; x_{t-1}] + b`: the gate f lets the new value in, where an LSTM's keeps the old one.

    Args:
        dim: width of the rows.
        hidden_dim: width of the states.
        window: rows that a state reads: 1, or 2 with the row before.
        weight_dropout: share of the weights that a step of training leaves out (Merity et al. 2018).

    Raises:
        UserError: another window.
    """

    def __init__(self, dim: int, hidden_dim: int, *, window: int = 1, weight_dropout: float = 0.0) -> None:
        super().__init__()
        if window not in (1, 2):
            raise UserError(f"a quasi-recurrent layer reads a window of 1 or 2 rows, not {window}")
        self.window = window
        self.weight_dropout = weight_dropout
        self.linear = nn.Linear(window * dim, 3 * hidden_dim)

    def forward(self, x: Tensor, layout: SequenceLayout, state: QrnnState | None = None) -> tuple[Tensor, QrnnState]:
        """The states [T, H] of rows [T, D], and what the next window of the same texts goes on from."""
        starts, lasts = layout.starts(x.device), layout.cu_seqlens(x.device)[1:].long() - 1
        read = x
        if self.window == 2:
            before = torch.cat([torch.zeros_like(x[:1]), x[:-1]])
            first = torch.zeros_like(x[starts]) if state is None else state.previous
            read = torch.cat([x, before.index_copy(0, starts, first)], 1)
        weight = F.dropout(self.linear.weight, self.weight_dropout, self.training)
        values, take, give = F.linear(read, weight, self.linear.bias).chunk(3, dim=1)
        take = take.sigmoid()
        new, keep = take * values.tanh(), 1 - take
        if state is not None:
            new = new.index_add(0, starts, keep[starts] * state.cells)
        cells = linear_recurrence(pad(keep, layout), pad(new, layout))
        cells = cells[layout.sequence_ids(x.device), layout.offsets_in_sequence(x.device)]
        return give.sigmoid() * cells, QrnnState(cells[lasts], x[lasts])


def linear_recurrence(keep: Tensor, new: Tensor) -> Tensor:
    """Every c_t of c_t = keep_t c_(t-1) + new_t, with c_0 = 0, in a logarithmic number of steps; all [B, N, H].

    >>> ones = torch.ones(1, 4, 1)
    >>> linear_recurrence(0.5 * ones, ones).flatten().tolist()
    [1.0, 1.5, 1.75, 1.875]
    """
    shift = 1
    while shift < keep.shape[1]:
        new = torch.cat([new[:, :shift], new[:, shift:] + keep[:, shift:] * new[:, :-shift]], 1)
        keep = torch.cat([keep[:, :shift], keep[:, shift:] * keep[:, :-shift]], 1)
        shift *= 2
    return new


class SequenceDropout(nn.Module):
    """Dropout that leaves out the same dims at all rows of a sequence (Gal and Ghahramani 2016)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor, layout: SequenceLayout) -> Tensor:
        """[T, D] -> [T, D]."""
        if not self.training or not self.p:
            return x
        kept = F.dropout(x.new_ones(len(layout), x.shape[1]), self.p)
        return x * kept[layout.sequence_ids(x.device)]
