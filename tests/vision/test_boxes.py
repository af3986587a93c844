"""Boxes as numbers."""

import pytest
import torch

from mm_kptm.errors import UserError
from mm_kptm.vision.boxes import corners_size_area, require_fractions


def test_seven_numbers_are_corners_size_and_area() -> None:
    numbers = corners_size_area(torch.tensor([[0.1, 0.2, 0.5, 0.9]]))
    torch.testing.assert_close(numbers, torch.tensor([[0.1, 0.2, 0.5, 0.9, 0.4, 0.7, 0.28]]))


def test_boxes_in_pixels_are_refused_and_overshoot_is_not() -> None:
    require_fractions(torch.tensor([[-0.01, 0.0, 1.02, 1.0]]))
    require_fractions(torch.empty(0, 4))
    with pytest.raises(
        UserError, match=r"fractions of the image, but one has a coordinate of 433; divide x by the width"
    ):
        require_fractions(torch.tensor([[10.0, 20.0, 433.0, 200.0]]))
