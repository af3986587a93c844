"""Losses of masked regions by hand, and where negatives come from."""

from __future__ import annotations

import math

import pytest
import torch

from mm_kptm.batch import Detected, SequenceLayout
from mm_kptm.errors import UserError
from mm_kptm.vision.modules.two_stream.region_heads import chosen_widths
from mm_kptm.vision.objectives.region_targets import TARGETS, RegionTruths, drawn_negatives, target_widths


def truths() -> RegionTruths:
    """One masked region with a feature of two numbers and a detector of three classes."""
    return RegionTruths(
        features=torch.tensor([[1.0, 0.0]]),
        classes=torch.tensor([[0.5, 0.25, 0.25]]),
        objects=Detected(torch.tensor([1]), torch.tensor([0.5])),
        attributes=Detected(torch.tensor([0]), torch.tensor([0.2])),
        negatives=torch.tensor([[[0.0, 1.0], [0.0, 0.0]]]),
    )


@pytest.mark.parametrize(
    ("target", "predicted", "loss"),
    [
        # uniform over three: 0.5 ln 1.5 + 2 * 0.25 ln 0.75
        ("distributions", [0.0, 0.0, 0.0], 0.5 * math.log(1.5) + 0.5 * math.log(0.75)),
        ("features", [3.0, 1.0], (4 + 1) / 2),
        ("smooth-features", [3.0, 0.5], ((2 - 0.5) + 0.5 * 0.25) / 2),
        # dot products with the true feature, (0, 1) and (0, 0): 2, 1, 0
        ("contrast", [2.0, 1.0], math.log(1 + math.exp(-1) + math.exp(-2))),
        ("objects", [0.0, 0.0], 0.5 * math.log(2)),
        ("attributes", [0.0, 0.0, 0.0, 0.0], 0.2 * math.log(4)),
        ("classes", [1.0, 0.0, 0.0], math.log(math.e + 2) - 1),
    ],
)
def test_a_loss_by_hand(target: str, predicted: list[float], loss: float) -> None:
    torch.testing.assert_close(TARGETS[target](torch.tensor([predicted]), truths()), torch.tensor([loss]))


@pytest.mark.parametrize("target", [name for name in TARGETS if name not in ("features", "smooth-features")])
def test_what_the_data_do_not_say_cannot_be_predicted(target: str) -> None:
    with pytest.raises(UserError, match=f"to predict {target} of masked regions takes their .*, but the"):
        TARGETS[target](torch.zeros(1, 2), RegionTruths(torch.zeros(1, 2)))


def test_negatives_are_other_regions_most_of_them_of_other_images() -> None:
    layout, rows = SequenceLayout((3, 1, 4)), torch.tensor([0, 2, 3, 7])
    drawn = drawn_negatives(rows, layout, 1000, torch.Generator().manual_seed(0))
    owners = layout.sequence_ids(rows.device)
    for row, negatives in zip(rows.tolist(), drawn, strict=True):
        assert row not in negatives and set(negatives.tolist()) == set(range(8)) - {row}
        across = owners[negatives] != owners[row]
        assert across.sum() == (1000 if row == 3 else 700), "an image of one region has no others inside"
        counts = torch.bincount(negatives[across], minlength=8)
        counts = counts[counts > 0]
        assert counts.min() > 0.6 * counts.float().mean()


def test_one_image_alone_is_told_apart_from_within() -> None:
    drawn = drawn_negatives(torch.tensor([1]), SequenceLayout((3,)), 50, torch.Generator().manual_seed(0))
    assert set(drawn.flatten().tolist()) == {0, 2}
    with pytest.raises(
        UserError, match="the target contrast needs other regions as negatives, but the batch has one region only"
    ):
        drawn_negatives(torch.tensor([0]), SequenceLayout((1,)), 5, torch.Generator())


def test_targets_are_chosen_by_name() -> None:
    sizes = target_widths(20, num_classes=9, num_objects=8, num_attributes=4)
    assert list(sizes.values()) == [9, 20, 20, 8, 4, 20, 9]
    assert chosen_widths("objects, features", sizes) == {"objects": 8, "features": 20}
    with pytest.raises(UserError, match="nothing called 'colour' is predicted of regions; there are distributions"):
        chosen_widths("colour", sizes)
    with pytest.raises(UserError, match="has to be predicted of regions, but none was chosen"):
        chosen_widths("", sizes)
