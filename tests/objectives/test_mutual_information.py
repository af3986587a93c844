"""Bounds on mutual information on the numbers of their papers' formulas."""

from __future__ import annotations

import math

import pytest
import torch

from mm_kptm.errors import UserError
from mm_kptm.objectives.mutual_information import ESTIMATORS, donsker_varadhan, info_nce, jensen_shannon

SCORES = torch.tensor([[1.0, -0.5], [0.2, 0.8]])


def test_the_worked_example() -> None:
    torch.testing.assert_close(jensen_shannon(SCORES), torch.tensor(-0.978289))
    torch.testing.assert_close(donsker_varadhan(SCORES), torch.tensor(0.989961))
    torch.testing.assert_close(info_nce(torch.tensor([[2.0, 0.5], [0.5, 1.0]])), torch.tensor(-0.337745))


def test_a_critic_that_tells_nothing_finds_nothing() -> None:
    flat = torch.zeros(4, 4)
    assert donsker_varadhan(flat) == 0
    torch.testing.assert_close(info_nce(flat), torch.tensor(-math.log(4)))
    torch.testing.assert_close(jensen_shannon(flat), torch.tensor(-2 * math.log(2)))


@pytest.mark.parametrize("estimator", ESTIMATORS.values())
def test_a_critic_that_knows_pairs_finds_more(estimator) -> None:
    assert estimator(torch.eye(5) * 3) > estimator(torch.zeros(5, 5))


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (4,)])
def test_all_pairs_are_needed(shape: tuple[int, ...]) -> None:
    message = r"^mutual information is estimated from the scores of all pairs of two .* scores have shape \["
    with pytest.raises(UserError, match=message):
        jensen_shannon(torch.zeros(shape))
