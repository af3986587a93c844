"""Losses on scores of pairs, by cases that were worked out by hand, and what they refuse."""

from __future__ import annotations

import pytest
import torch

from mm_kptm.errors import UserError
from mm_kptm.objectives.pair_scores import (
    circle_loss,
    diagonal_cross_entropy,
    max_margin,
    mil_nce,
    multi_positive_contrast,
)


def test_the_circle_loss_of_two_examples_worked_out_by_hand() -> None:
    """Margin 0.3, scale 2: exp(2 * 0.5 * (0.2 - 0.3)) + exp(2 * 0.7 * (0.4 - 0.3)), times exp(-2 * 0.5 * 0.1)."""
    positive, negative = torch.tensor([[0.8]]), torch.tensor([[0.2, 0.4]])
    torch.testing.assert_close(circle_loss(positive, negative, margin=0.3, scale=2.0), torch.tensor(1.050661))
    positive = torch.tensor([[0.8], [0.5]])
    negative = torch.tensor([[0.2, 0.4], [0.6, 0.1]])
    torch.testing.assert_close(circle_loss(positive, negative, margin=0.3, scale=2.0), torch.tensor(1.281428))


def test_the_weights_of_the_circle_loss_get_no_gradient() -> None:
    positive = torch.tensor([[0.7]], requires_grad=True)
    circle_loss(positive, torch.tensor([[0.1]]), margin=0.3, scale=1.0).backward()
    towards, away = 1 + 0.3 - 0.7, 0.1 + 0.3
    logit = torch.tensor(away * (0.1 - 0.3) - towards * (0.7 - 1 + 0.3))
    torch.testing.assert_close(positive.grad, -(logit.sigmoid() * towards).reshape(1, 1))


def test_several_positives_share_the_numerator() -> None:
    """-log((e^2 + e^1.5) / (e^2 + e^1.5 + e^0.5 + e^-1 + e^0))."""
    scores = torch.tensor([2.0, 1.5, 0.5, -1.0, 0.0])
    loss = multi_positive_contrast(scores, torch.arange(5) < 2)
    torch.testing.assert_close(loss, torch.tensor(0.226434))
    one = multi_positive_contrast(torch.tensor([1.5, 0.5, -1.0]), torch.arange(3) == 0)
    torch.testing.assert_close(one, torch.tensor(0.371539))


def test_a_group_of_one_has_one_positive_and_all_others_as_negatives() -> None:
    scores = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    expected = [
        torch.cat([scores[:, i], scores[i, [j for j in range(4) if j != i]]]).logsumexp(0) - scores[i, i]
        for i in range(4)
    ]
    torch.testing.assert_close(mil_nce(scores), torch.stack(expected).mean())


def test_hard_negatives_take_their_share_of_the_weight() -> None:
    scores = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
    plain, even = max_margin(scores, group=3), max_margin(scores, group=3, hard_rate=0.5)
    torch.testing.assert_close(plain, even)  # two groups: half of the pairs lie in one
    assert not torch.isclose(plain, max_margin(scores, group=3, hard_rate=0.9))
    torch.testing.assert_close(max_margin(torch.zeros(2, 2), margin=0.1), torch.tensor(0.2))


def test_a_row_is_told_from_the_others_by_its_own_column() -> None:
    torch.testing.assert_close(diagonal_cross_entropy(torch.zeros(5, 5)), torch.tensor(5.0).log())


def test_scores_that_are_no_whole_groups_are_refused() -> None:
    with pytest.raises(UserError, match=r"a square of whole groups of 3, but their shape is \[4, 4\]"):
        mil_nce(torch.zeros(4, 4), group=3)
    with pytest.raises(UserError, match=r"a square of whole groups of 1, but their shape is \[2, 3\]"):
        max_margin(torch.zeros(2, 3))
