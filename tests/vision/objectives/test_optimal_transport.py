"""Optimal transport between words and regions."""

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment

from mm_kptm.batch import SequenceLayout
from mm_kptm.vision.objectives.optimal_transport import transport_distances, transport_plan


def rows(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_many_iterations_find_the_best_assignment() -> None:
    """Between two uniform sets of one size the best transport is an assignment, which scipy solves exactly."""
    cost = rows(4, 6, 6).abs()
    real = torch.ones(4, 6, dtype=torch.bool)
    plan = transport_plan(cost, real, real, iterations=2000)
    best = [matrix[linear_sum_assignment(matrix.numpy())].sum().item() / 6 for matrix in cost]
    torch.testing.assert_close((cost * plan).sum((1, 2)), torch.tensor(best), atol=1e-3, rtol=1e-3)


def test_a_plan_spends_the_weight_of_every_row() -> None:
    left, right = torch.ones(2, 5, dtype=torch.bool), torch.ones(2, 3, dtype=torch.bool)
    left[1, 3:] = False
    plan = transport_plan(rows(2, 5, 3).abs(), left, right)
    torch.testing.assert_close(plan.sum(2), left / left.sum(1, keepdim=True))
    torch.testing.assert_close(plan.sum(1), torch.full((2, 3), 1 / 3), atol=1e-3, rtol=0)


def test_equal_states_are_at_distance_zero_and_opposite_ones_at_two() -> None:
    word = rows(1, 8)
    near = transport_distances(word.expand(3, 8), SequenceLayout((3,)), 5 * word.expand(2, 8), SequenceLayout((2,)))
    far = transport_distances(word.expand(3, 8), SequenceLayout((3,)), -word.expand(2, 8), SequenceLayout((2,)))
    torch.testing.assert_close(near, torch.zeros(1), atol=1e-5, rtol=0)
    torch.testing.assert_close(far, torch.full((1,), 2.0))


def test_company_does_not_change_a_distance() -> None:
    words, regions = rows(9, 8), rows(7, 8, seed=1)
    texts, images = SequenceLayout((2, 4, 3)), SequenceLayout((4, 1, 2))
    together = transport_distances(words, texts, regions, images)
    alone = [
        transport_distances(w, SequenceLayout((len(w),)), r, SequenceLayout((len(r),)))
        for w, r in zip(texts.split(words), images.split(regions), strict=True)
    ]
    torch.testing.assert_close(together, torch.cat(alone))


def test_an_empty_side_is_at_distance_zero() -> None:
    words, regions = rows(5, 8).requires_grad_(), rows(2, 8, seed=1)
    distances = transport_distances(words, SequenceLayout((3, 2)), regions, SequenceLayout((0, 2)))
    distances.sum().backward()
    assert distances[0] == 0 and distances[1] > 0
    assert words.grad is not None and words.grad.isfinite().all() and (words.grad[:3] == 0).all()


def test_the_gradient_goes_through_the_cost_alone() -> None:
    words, regions = rows(3, 8).requires_grad_(), rows(2, 8, seed=1)
    transport_distances(words, SequenceLayout((3,)), regions, SequenceLayout((2,))).sum().backward()
    again = words.detach().clone().requires_grad_()
    cost = 1 - F.cosine_similarity(again[:, None], regions[None], dim=-1)
    plan = transport_plan(cost.detach()[None], torch.ones(1, 3).bool(), torch.ones(1, 2).bool())
    (cost * plan[0]).sum().backward()
    torch.testing.assert_close(words.grad, again.grad)


def test_half_precision_states_are_compared_in_full_precision() -> None:
    words, regions = rows(3, 8).bfloat16(), rows(2, 8, seed=1).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = transport_distances(words, SequenceLayout((3,)), regions, SequenceLayout((2,)))
    full = transport_distances(words.float(), SequenceLayout((3,)), regions.float(), SequenceLayout((2,)))
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, full)
