"""Boxes as numbers, what regions hold before the first layer, and how much boxes overlap."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mm_kptm.batch import Regions, SequenceLayout
from mm_kptm.errors import UserError
from mm_kptm.vision.boxes import sinusoidal_boxes
from mm_kptm.vision.modules.two_stream.region_embeddings import (
    SummedRegionEmbedding,
    box_numbers,
    overlaps_of_images,
    require_rows,
)
from tests.vision.conftest import REGION_DIM, regions_of


def test_the_numbers_that_systems_read_of_a_box() -> None:
    box = torch.tensor([[0.1, 0.2, 0.5, 0.7]])
    corners, size, area = [0.1, 0.2, 0.5, 0.7], [0.4, 0.5], [0.2]
    for count, expected in ((4, corners), (5, corners + area), (7, corners + size + area)):
        torch.testing.assert_close(box_numbers(box, count), torch.tensor([expected]))


def test_waves_of_a_box() -> None:
    """Centre and size in percent; the first wave is plain, the second is 1000 ** 0.5 as long."""
    waves = sinusoidal_boxes(torch.tensor([[0.1, 0.2, 0.3, 0.6]]), 2).view(4, 4)
    percent = torch.tensor([20.0, 40.0, 20.0, 40.0])
    angles = torch.stack([percent, percent / 1000**0.5], 1)
    torch.testing.assert_close(waves, torch.cat([angles.sin(), angles.cos()], 1))


def test_features_of_another_width_and_boxes_in_pixels_are_refused() -> None:
    embedding, regions = SummedRegionEmbedding(REGION_DIM + 1, 8), regions_of(2)
    with pytest.raises(UserError, match=f"features of {REGION_DIM + 1} numbers, but these have {REGION_DIM}"):
        embedding(regions)
    pixels = Regions(regions.features, regions.boxes * 600, regions.layout)
    with pytest.raises(UserError, match="boxes are x1 y1 x2 y2 as fractions of the image"):
        SummedRegionEmbedding(REGION_DIM, 8)(pixels)


def test_a_table_that_cannot_tell_regions_from_text_is_refused() -> None:
    assert require_rows(nn.Embedding(3, 4), 3).num_embeddings == 3
    for table in (None, nn.Embedding(1, 4)):
        with pytest.raises(UserError, match="row 1 of the segments, so num_segments must be at least 2"):
            require_rows(table, 2)


def test_overlaps_are_of_boxes_of_one_image() -> None:
    boxes = torch.tensor([[0.0, 0.0, 0.4, 0.4], [0.2, 0.0, 0.6, 0.4], [0.5, 0.5, 1.0, 1.0], [0.0, 0.0, 0.4, 0.4]])
    overlaps = overlaps_of_images(boxes, SequenceLayout((3, 1)))
    assert overlaps.shape == (2, 3, 3)
    expected = torch.tensor([[1.0, 1 / 3, 0.0], [1 / 3, 1.0, 0.0], [0.0, 0.0, 1.0]])
    torch.testing.assert_close(overlaps[0], expected)
    torch.testing.assert_close(overlaps[1, 0, 0], torch.tensor(1.0))
    assert torch.equal(overlaps[1, 1:], torch.zeros(2, 3)), "padding overlaps nothing"
