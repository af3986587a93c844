"""Heads that only images need."""

import pytest
import torch
from torch import nn

from mm_kptm.batch import SequenceLayout
from mm_kptm.errors import UserError
from mm_kptm.nn.heads import Transform
from mm_kptm.vision.modules.heads import AttentionPool, PairedImages, TiedFeatures


def test_features_are_regressed_through_the_matrix_that_embeds_them() -> None:
    feature = nn.Linear(12, 8)
    head = TiedFeatures(Transform(8), feature)
    rows = torch.randn(5, 8)
    before = head(rows)
    with torch.no_grad():
        feature.weight *= 2
    torch.testing.assert_close(head(rows), 2 * before)
    assert before.shape == (5, 12)


def test_a_pool_that_scores_all_rows_alike_is_their_mean() -> None:
    pool = AttentionPool(8).eval()
    nn.init.zeros_(pool.score.weight)
    rows = torch.randn(7, 8)
    expected = torch.stack([rows[:3].mean(0), rows[3:].mean(0)])
    torch.testing.assert_close(pool(rows, SequenceLayout((3, 4))), expected)


def test_a_pair_of_images_minds_no_other_pair_and_no_order_of_rows() -> None:
    torch.manual_seed(0)
    head = PairedImages(8, 2).eval()
    rows, layout = torch.randn(14, 8), SequenceLayout((3, 4, 5, 2))
    scores = head(rows, layout)
    torch.testing.assert_close(head(rows[7:], SequenceLayout((5, 2))), scores[1:])
    order = torch.tensor([2, 0, 1, 6, 5, 3, 4, 11, 10, 9, 8, 7, 13, 12])
    torch.testing.assert_close(head(rows[order], layout), scores)


def test_each_image_of_a_pair_reads_the_other() -> None:
    torch.manual_seed(0)
    head = PairedImages(8, 2).eval()
    rows = torch.randn(7, 8, requires_grad=True)
    head(rows, SequenceLayout((3, 4))).sum().backward()
    assert rows.grad is not None and (rows.grad != 0).all()
    assert all((weight.grad != 0).any() for name, weight in head.named_parameters() if not name.endswith("key.bias"))


def test_an_odd_number_of_sequences_is_refused() -> None:
    with pytest.raises(UserError, match="two images a text need an even number of sequences, but there are 3"):
        PairedImages(8, 2)(torch.randn(6, 8), SequenceLayout((2, 2, 2)))
