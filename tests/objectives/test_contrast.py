"""In-batch contrast has values that can be worked out by hand."""

import math

import torch

from mm_kptm.objectives.contrast import in_batch_contrast


def test_companions_at_right_angles_to_all_others() -> None:
    """Own cosine 1, all others 0: the loss is the log of 1 + (B - 1) exp(-1 / t)."""
    rows = torch.eye(4) * torch.tensor([1.0, 2.0, 3.0, 0.5])[:, None]  # lengths do not matter
    loss = in_batch_contrast(rows, torch.eye(4), temperature=0.5)
    torch.testing.assert_close(loss, torch.full((4,), math.log(1 + 3 * math.exp(-2))))


def test_companions_that_cannot_be_told_apart() -> None:
    loss = in_batch_contrast(torch.ones(5, 3), torch.ones(5, 3))
    torch.testing.assert_close(loss, torch.full((5,), math.log(5)))


def test_directions_count_alike() -> None:
    torch.manual_seed(0)
    left, right = torch.randn(6, 4), torch.randn(6, 4)
    torch.testing.assert_close(in_batch_contrast(left, right), in_batch_contrast(right, left))


def test_one_example_has_nothing_to_be_confused_with() -> None:
    assert in_batch_contrast(torch.randn(1, 3), torch.randn(1, 3)).tolist() == [0]


def test_the_temperature_learns() -> None:
    torch.manual_seed(0)
    temperature = torch.tensor(0.1, requires_grad=True)
    in_batch_contrast(torch.randn(4, 3), torch.randn(4, 3), temperature=temperature).sum().backward()
    assert temperature.grad is not None and temperature.grad.isfinite() and temperature.grad != 0
