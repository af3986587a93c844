"""Proposals and selection as the sheet states them, on boxes small enough to count by hand."""

import pytest
import torch

from mm_kptm.vision.extractors.proposals import ProposalRule, anchors, decode, propose
from mm_kptm.vision.extractors.resizing import ShortSide
from mm_kptm.vision.extractors.selection import SelectionRule, best_class, select, surviving_confidences


def test_anchors_of_the_released_detector():
    found = anchors(ProposalRule())
    assert found.shape == (12, 4)
    assert found[4].tolist() == [-24, -24, 39, 39]  # ratio 1, scale 4: 64 pixels
    assert found[0].tolist() == [-38, -16, 53, 31]  # ratio 0.5: 23 x 12 cells' pixels, scaled by 4


def test_pixels_are_inclusive():
    """IoU of (0, 0, 3, 3) and (2, 0, 5, 3) is 8 / 24 with the +1 and 0.2 without: suppressed at 0.3 only with it."""
    boxes = torch.tensor([[0.0, 0, 3, 3], [2, 0, 5, 3]])
    probs = torch.tensor([[0.1, 0.9], [0.2, 0.8]])
    assert surviving_confidences(boxes, probs, 0.3).tolist() == pytest.approx([0.9, 0])
    assert surviving_confidences(boxes, probs, 0.34).tolist() == pytest.approx([0.9, 0.8])


def test_a_box_lives_on_in_another_class():
    boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 9]])
    probs = torch.tensor([[0.0, 0.9, 0.1], [0.5, 0.3, 0.2]])
    assert surviving_confidences(boxes, probs, 0.3).tolist() == pytest.approx([0.9, 0.2])


def test_a_suppressed_box_suppresses_nothing():
    """A chain: the first hides the second, which would have hidden the third."""
    boxes = torch.tensor([[0.0, 0, 9, 9], [4, 0, 13, 9], [8, 0, 17, 9]])
    probs = torch.tensor([[0.1, 0.9], [0.2, 0.8], [0.3, 0.7]])
    assert surviving_confidences(boxes, probs, 0.3).tolist() == pytest.approx([0.9, 0, 0.7])


def test_class_by_class_it_is_torchvisions_nms():
    from torchvision.ops import nms

    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(40, 2, generator=generator) * 50
    boxes = torch.cat([corners, corners + torch.rand(40, 2, generator=generator) * 30], dim=1)
    probs = torch.rand(40, 7, generator=generator).softmax(dim=1)
    expected = torch.zeros(40)
    for kind in range(1, 7):
        kept = nms(boxes + torch.tensor([0, 0, 1, 1]), probs[:, kind], 0.3)
        expected[kept] = torch.maximum(expected[kept], probs[kept, kind])
    torch.testing.assert_close(surviving_confidences(boxes, probs, 0.3), expected)


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        (SelectionRule(1, 4, 0.2), [1, 2, 4]),  # inside the limits: in the proposals' order
        (SelectionRule(3, 3, 0.2), [1, 2, 4]),  # the count fits exactly: the same
        (SelectionRule(1, 2, 0.2), [4, 1]),  # too many: the best, falling
        (SelectionRule(4, 9, 0.2), [4, 1, 2, 0]),  # too few: the best, falling
        (SelectionRule(9, 9, 0.2), [4, 1, 2, 0, 3]),  # fewer proposals than asked for
        (SelectionRule(1, 9, 0.3), [1, 2, 4]),  # the threshold itself is kept
    ],
)
def test_selection(rule, kept):
    assert select(torch.tensor([0.1, 0.5, 0.3, 0.0, 0.9]), rule).tolist() == kept


def test_ids_count_without_the_first_column():
    ids, confidences = best_class(torch.tensor([[0.6, 0.1, 0.3]]))
    assert (ids.tolist(), confidences.tolist()) == ([1], pytest.approx([0.3]))


def test_deltas_move_and_stretch():
    boxes = torch.tensor([[0.0, 0, 9, 9]])
    moved = decode(boxes, torch.tensor([[0.1, 0, 0, 0]]))
    assert moved.tolist() == [[1, 0, 11, 10]]  # the release leaves out the -1 on the way back
    assert decode(boxes, torch.tensor([[0, 0, torch.tensor(2.0).log(), 0]])).tolist() == [
        pytest.approx([-5, 0, 15, 10])
    ]


def test_small_boxes_go_and_the_best_come_first():
    rule = ProposalRule(scales=(1, 4), ratios=(1,), after_nms=5, min_size=20)
    scores = torch.linspace(0, 1, 2 * 3 * 3).reshape(2, 3, 3)
    boxes, found = propose(scores, torch.zeros(8, 3, 3), (48, 48), 1.0, rule)
    assert ((boxes[:, 2:] - boxes[:, :2] + 1) >= 20).all()
    assert (boxes >= 0).all()
    assert (boxes <= 47).all()
    assert (found.diff() <= 0).all()
    assert found[0] == 1


@pytest.mark.parametrize(
    ("size", "scale"),
    [((480, 640), 600 / 480), ((300, 1200), 1000 / 1200), ((600, 1000), 1.0), ((599, 999), 1000 / 999)],
)
def test_the_short_side_is_600_unless_the_long_one_passes_1000(size, scale):
    assert ShortSide().scale(*size) == pytest.approx(scale)
    assert ShortSide().scale(*size[::-1]) == pytest.approx(scale)
