"""Vectors of answers and the loss of their edges."""

import torch

from mm_kptm.crosslingual.objectives.answer_agreement import agreement, answer_vector, edge_loss


def test_answers_that_are_alike_weigh_more() -> None:
    states = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))
    inside = torch.tensor([[0, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 0]]).bool()
    first, last = torch.tensor([1, 2]), torch.tensor([2, 4])
    vector = answer_vector(states, inside, first, last)
    assert vector.shape == (2, 12)
    torch.testing.assert_close(vector[0, :8], states[0, 1:3].flatten())
    assert agreement(vector, vector) > agreement(vector, -vector)
    noisy = states.masked_fill(~inside.unsqueeze(-1), 9.0)
    torch.testing.assert_close(answer_vector(noisy, inside, first, last), vector)


def test_no_answer_stands_outside_the_passage() -> None:
    allowed = torch.tensor([[False, True, True]])
    torch.testing.assert_close(edge_loss(torch.zeros(1, 3), allowed, torch.tensor([2])), torch.tensor(2.0).log())
