"""Quasi-recurrent layers do what their recurrence says, window after window, sequence by sequence."""

import pytest
import torch

from mm_kptm.batch import SequenceLayout
from mm_kptm.errors import UserError
from mm_kptm.nn.batch_norm import BatchNorm
from mm_kptm.nn.recurrent.qrnn import QrnnLayer, SequenceDropout

LENGTHS = (5, 1, 9, 2)


def layer(window: int) -> QrnnLayer:
    torch.manual_seed(0)
    return QrnnLayer(3, 4, window=window).double()


def one_by_one(qrnn: QrnnLayer, x: torch.Tensor) -> torch.Tensor:
    """The states of one sequence, a row at a time."""
    before, cell, states = torch.zeros_like(x[0]), torch.zeros(4).double(), []
    for row in x:
        read = torch.cat([row, before]) if qrnn.window == 2 else row
        value, take, give = qrnn.linear(read).chunk(3)
        cell = take.sigmoid() * value.tanh() + (1 - take.sigmoid()) * cell
        states.append(give.sigmoid() * cell)
        before = row
    return torch.stack(states)


@pytest.mark.parametrize("window", [1, 2])
def test_all_rows_at_once_are_those_of_the_recurrence(window):
    qrnn, layout = layer(window), SequenceLayout(LENGTHS)
    x = torch.randn(layout.total, 3).double()
    states, after = qrnn(x, layout)
    torch.testing.assert_close(states, torch.cat([one_by_one(qrnn, one) for one in layout.split(x)]))
    assert after.cells.shape == (4, 4) and torch.equal(after.previous[1], x[5])


@pytest.mark.parametrize("window", [1, 2])
def test_a_text_in_windows_is_that_in_one_piece(window):
    qrnn = layer(window)
    x = torch.randn(2, 11, 3).double()
    whole, _ = qrnn(x.flatten(0, 1), SequenceLayout((11, 11)))
    state, parts = None, []
    for start, end in ((0, 4), (4, 5), (5, 11)):
        part, state = qrnn(x[:, start:end].flatten(0, 1), SequenceLayout((end - start,) * 2), state)
        parts.append(part.unflatten(0, (2, -1)))
    torch.testing.assert_close(torch.cat(parts, 1).flatten(0, 1), whole)


def test_dropout_leaves_out_the_same_dims_at_all_rows_of_a_sequence():
    torch.manual_seed(0)
    drop, layout = SequenceDropout(0.5), SequenceLayout((4, 3))
    dropped = drop(torch.ones(7, 16), layout)
    first, second = layout.split(dropped)
    assert (first == first[0]).all() and (second == second[0]).all() and not torch.equal(first[0], second[0])
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(drop.eval()(torch.ones(7, 16), layout), torch.ones(7, 16))


def test_a_window_of_three_rows_is_refused():
    with pytest.raises(UserError, match=r"^a quasi-recurrent layer reads a window of 1 or 2 rows, not 3$"):
        QrnnLayer(3, 4, window=3)


def test_batch_norm_is_torchs_and_takes_a_single_row():
    ours, theirs = BatchNorm(5), torch.nn.BatchNorm1d(5)
    for _ in range(3):
        rows = torch.randn(6, 5) * 3 + 1
        torch.testing.assert_close(ours(rows), theirs(rows))
    ours(rows[:1])
    ours.eval(), theirs.eval()
    torch.testing.assert_close(ours(rows[:1]), theirs(rows[:1]))
