"""Small parts of published systems, by cases that were worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mm_kptm.batch import SequenceLayout
from mm_kptm.errors import UserError
from mm_kptm.nn.steps import Stream
from mm_kptm.vision.boxes import corners_and_share, thousandths
from mm_kptm.vision.modules.single_stream.image_at_tokens import ImageAtTokens
from mm_kptm.vision.modules.two_stream.tangled_attention import TangledAttention
from mm_kptm.vision.modules.video_tokens import hierarchical_token


@torch.no_grad()
def test_words_read_regions_by_way_of_the_action() -> None:
    module = TangledAttention(2, 1, dropout=0.0)
    for part in module.modules():
        if isinstance(part, nn.Linear):
            part.weight.copy_(torch.eye(2))
            part.bias.zero_()
    action = Stream.of(torch.tensor([[1.0, 0.0]]), SequenceLayout((1,)))
    words = Stream.of(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), SequenceLayout((2,)))
    regions = Stream.of(torch.tensor([[0.0, 2.0], [1.0, 1.0]]), SequenceLayout((2,)))
    read = module(action, words, regions)
    torch.testing.assert_close(read.from_words, torch.tensor([[0.669762, 0.330238]]))
    torch.testing.assert_close(read.from_regions, torch.tensor([[0.669762, 1.330238]]))
    torch.testing.assert_close(read.regions, torch.tensor([[0.229001, 1.700498], [0.533575, 1.268649]]))
    torch.testing.assert_close(read.words, torch.tensor([[0.669762, 0.676764], [0.485831, 0.972437]]))


@torch.no_grad()
def test_sequences_of_tangled_streams_do_not_mix() -> None:
    torch.manual_seed(0)
    module = TangledAttention(8, 2, dropout=0.0)
    rows = torch.randn(9, 8)

    def stream(first: int, *lengths: int) -> Stream:
        return Stream.of(rows[first : first + sum(lengths)], SequenceLayout(lengths))

    both = module(stream(0, 1, 1), stream(2, 2, 1), stream(5, 1, 3))
    second = module(stream(1, 1), stream(4, 1), stream(6, 3))
    torch.testing.assert_close(both.words[2:], second.words)
    torch.testing.assert_close(both.regions[1:], second.regions)


@torch.no_grad()
def test_a_token_without_an_image_gets_the_bias() -> None:
    module = ImageAtTokens(3, 4)
    embedded = torch.randn(2, 4)
    plain = module(embedded, torch.zeros(2, 3))
    torch.testing.assert_close(plain, module.norm(embedded) + module.project.bias.tanh())


def test_boxes_as_thousandths_and_as_shares() -> None:
    box = torch.tensor([[103 / 1240, 251 / 1754, 498 / 1240, 277 / 1754]])
    assert thousandths(box).tolist() == [[83, 143, 401, 157]]
    assert thousandths(torch.tensor([[0.0, 0.29, 1.0, 0.57]])).tolist() == [[0, 290, 1000, 570]]
    torch.testing.assert_close(
        corners_and_share(torch.tensor([[0.1, 0.1, 0.6, 0.35]])), torch.tensor([[0.1, 0.1, 0.6, 0.35, 0.125]])
    )


def test_a_leaf_is_numbered_by_its_path() -> None:
    assert hierarchical_token([0, 0]) == 0 and hierarchical_token([1, 1], branching=2) == 3
    with pytest.raises(UserError, match="branch 12 was taken, but a node has branches 0 to 11"):
        hierarchical_token([12])
