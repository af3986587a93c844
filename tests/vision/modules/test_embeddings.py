"""What a region holds before the first layer."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from mm_kptm.errors import UserError
from mm_kptm.vision.modules.embeddings import RegionEmbedding
from tests.vision.conftest import REGION_DIM, regions_of


@pytest.fixture
def embedding() -> RegionEmbedding:
    torch.manual_seed(0)
    return RegionEmbedding(REGION_DIM, 8, segment=nn.Embedding(3, 8)).eval()


def test_regions_take_segment_row_one_unless_they_say_otherwise(embedding: RegionEmbedding) -> None:
    regions = regions_of(2)
    said = replace(regions, segments=torch.tensor([1, 1]))
    right = replace(regions, segments=torch.tensor([2, 2]))
    assert torch.equal(embedding(regions), embedding(said))
    assert not torch.allclose(embedding(regions), embedding(right))


def test_a_hidden_region_shows_its_box_and_nothing_of_its_feature(embedding: RegionEmbedding) -> None:
    regions = replace(regions_of(3), masked=torch.tensor([True, False, False]))
    noisy = replace(regions, features=regions.features.clone())
    noisy.features[0] = 1e3
    moved = replace(regions, boxes=regions.boxes * 0.5)
    assert torch.equal(embedding(regions), embedding(noisy))
    assert not torch.allclose(embedding(regions)[0], embedding(moved)[0])
    assert not torch.allclose(embedding(regions)[0], embedding(replace(regions, masked=None))[0])


def test_a_segment_table_without_row_one_is_refused() -> None:
    for table in (None, nn.Embedding(1, 8)):
        with pytest.raises(UserError, match="row 1 of the segments, so num_segments must be at least 2"):
            RegionEmbedding(REGION_DIM, 8, segment=table)


def test_features_of_another_width_are_refused(embedding: RegionEmbedding) -> None:
    wide = replace(regions_of(1), features=torch.zeros(1, 2048))
    with pytest.raises(UserError, match=r"features of 12 numbers, but these have 2048; build it with region_dim=2048"):
        embedding(wide)
