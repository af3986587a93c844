"""Maps between spaces find the rotation behind the vectors, and refuse what is not paired."""

import pytest
import torch

from mm_kptm.crosslingual.alignment.contextual_maps import FeedForwardMap, LinearMap, procrustes, squared_distance
from mm_kptm.crosslingual.alignment.word_pairs import aligned_rows, piece_pairs
from mm_kptm.errors import UserError


def test_procrustes_finds_the_rotation():
    draws = torch.Generator().manual_seed(0)
    source = torch.randn(50, 6, generator=draws, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=draws, dtype=torch.float64)).Q
    found = procrustes(source, source @ rotation.T)
    torch.testing.assert_close(found, rotation)
    torch.testing.assert_close(procrustes(source @ rotation.T, source), rotation.T)


def test_no_rotation_is_closer_than_procrustes():
    draws = torch.Generator().manual_seed(1)
    source, target = torch.randn(2, 30, 4, generator=draws)
    best = squared_distance(source @ procrustes(source, target).T, target)
    for _ in range(20):
        other = torch.linalg.qr(torch.randn(4, 4, generator=draws)).Q
        assert squared_distance(source @ other.T, target) >= best


def test_a_linear_map_is_the_identity_at_first():
    states = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(2))
    assert torch.equal(LinearMap(4)(states), states)


def test_one_layer_is_affine_and_the_slope_is_chosen():
    states = torch.randn(5, 4, generator=torch.Generator().manual_seed(3))
    affine = FeedForwardMap(4, hidden_dim=8, num_layers=1)
    torch.testing.assert_close(affine(states), affine.layers[0](states))
    steep = FeedForwardMap(4, hidden_dim=8, negative_slope=1.0)  # a slope of 1 leaves everything as it is
    torch.testing.assert_close(steep(states), steep.layers[2](steep.layers[0](states)))


def test_padding_never_enters():
    states = torch.arange(12.0).view(2, 3, 2)
    places, mask = torch.tensor([[1, 0], [2, 1]]), torch.tensor([[1, 0], [1, 1]])
    assert aligned_rows(states, places, mask).tolist() == [[2, 3], [10, 11], [8, 9]]
    assert piece_pairs("").shape == (0, 2)


def test_faults_are_named():
    with pytest.raises(UserError, match=r"source \[2, 3\] and target \[1, 3\] are not paired"):
        procrustes(torch.ones(2, 3), torch.ones(1, 3))
    with pytest.raises(UserError, match="a map has at least one layer, not 0"):
        FeedForwardMap(4, hidden_dim=8, num_layers=0)
    with pytest.raises(UserError, match="holds '1:2', which is no pair"):
        piece_pairs("0-0 1:2")
    with pytest.raises(UserError, match="'all' is no policy"):
        piece_pairs("0-0", "all")
