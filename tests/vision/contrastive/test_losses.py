"""Contrastive losses agree with their definitions, with one another, and with open_clip."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.loss import ClipLoss, SigLipLoss
from torch import Tensor

from benchmarks.counts.memory import peak_bytes
from mm_kptm.errors import UserError
from mm_kptm.vision.contrastive.losses.info_nce import contrast_losses, queue_losses, whole_batch_contrast
from mm_kptm.vision.contrastive.losses.queues import KeyQueue, follow
from mm_kptm.vision.contrastive.losses.sigmoid import sigmoid_losses
from mm_kptm.vision.contrastive.losses.streamed import streamed_contrast
from mm_kptm.vision.contrastive.losses.views import nt_xent, supervised_contrast


def pairs(count: int, dim: int = 8, *, alike: float = 0.0, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(count, dim, generator=generator, dtype=dtype) for _ in range(2))
    return left.requires_grad_(), (alike * left.detach() + right).requires_grad_()


def normed(*sides: Tensor) -> list[Tensor]:
    return [F.normalize(side, dim=-1) for side in sides]


def test_info_nce_is_that_of_open_clip():
    left, right = pairs(7)
    theirs = ClipLoss()(*normed(left, right), torch.tensor(5.0))
    torch.testing.assert_close(contrast_losses(left, right, 5.0).mean(), theirs)
    torch.testing.assert_close(whole_batch_contrast(left, right, 5.0, gradient="summed"), theirs)


def test_sigmoid_loss_is_that_of_open_clip():
    left, right = pairs(7)
    theirs = SigLipLoss()(*normed(left, right), torch.tensor(5.0), torch.tensor(-2.0))
    torch.testing.assert_close(sigmoid_losses(left, right, 5.0, -2.0).mean(), theirs)


def test_smoothed_labels_are_those_of_torch():
    left, right = pairs(5)
    scores = 3 * normed(left)[0] @ normed(right)[0].T
    expected = [F.cross_entropy(one, torch.arange(5), label_smoothing=0.1) for one in (scores, scores.T)]
    torch.testing.assert_close(contrast_losses(left, right, 3.0, label_smoothing=0.1).mean(), sum(expected) / 2)


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(1, 40),
    block=st.integers(1, 45),
    log_scale=st.floats(-1, math.log(100)),
    alike=st.sampled_from([0.0, 1.0, 50.0, -50.0]),
)
def test_a_streamed_loss_is_the_plain_one(count: int, block: int, log_scale: float, alike: float):
    """Value and gradients, with blocks that divide the batch or not, and scores near to or far from one another."""
    grads = []
    for streamed in (False, True):
        left, right = pairs(count, alike=alike, dtype=torch.double)
        scale = torch.tensor(log_scale, requires_grad=True, dtype=torch.double)
        if streamed:
            loss = streamed_contrast(left, right, scale.exp(), block=block)
        else:
            loss = contrast_losses(left, right, scale.exp()).mean()
        (3 * loss).backward()
        grads.append((loss.detach(), left.grad, right.grad, scale.grad))
    for plain, ours in zip(*grads, strict=True):
        torch.testing.assert_close(ours, plain, atol=1e-9, rtol=1e-7)


def test_a_streamed_loss_is_exact_to_a_millionth():
    sides = pairs(300, 32, alike=0.5)
    plain, ours = (
        torch.autograd.grad(loss, sides)
        for loss in (contrast_losses(*sides, 14.3).mean(), streamed_contrast(*sides, 14.3, block=64))
    )
    for one, other in zip(plain, ours, strict=True):
        torch.testing.assert_close(other, one, atol=1e-6, rtol=0)


def test_a_streamed_loss_keeps_an_eighth_of_the_plain_one() -> None:
    """Beyond normalised vectors and their gradients, which every way needs."""
    left, right = pairs(1024, 16)

    def vectors() -> None:
        one, other = normed(left, right)
        (3.0 * one * other).sum().backward()

    floor = peak_bytes(vectors)
    plain = peak_bytes(lambda: contrast_losses(left, right, 3.0).mean().backward()) - floor
    streamed = peak_bytes(lambda: streamed_contrast(left, right, 3.0, block=64).backward()) - floor
    assert streamed < plain / 8


def test_scores_that_lie_far_apart_lose_nothing():
    """Exponentials of 100 times a cosine between -1 and 1 do not fit one shift."""
    left = torch.tensor([[1.0, 0.0], [-1.0, 1e-3], [0.0, 1.0]], requires_grad=True)
    right = -left.detach().clone()
    results = []
    for loss in (contrast_losses(left, right, 100.0).mean(), streamed_contrast(left, right, 100.0, block=2)):
        results.append((loss.detach(), torch.autograd.grad(loss, left)[0]))
    assert results[0][0] > 30
    torch.testing.assert_close(results[0], results[1], atol=1e-4, rtol=1e-5)


def test_a_queue_of_the_rest_of_the_batch_is_the_batch():
    left, right = normed(*pairs(6))
    queue = right.detach()
    rows = [torch.cat([queue[:place], queue[place + 1 :]]) for place in range(6)]
    each = torch.cat([queue_losses(left[i : i + 1], queue[i : i + 1], rows[i], 4.0) for i in range(6)])
    expected = F.cross_entropy(4 * left @ queue.T, torch.arange(6), reduction="none")
    torch.testing.assert_close(each, expected)


def test_a_queue_keeps_the_last_keys():
    queue = KeyQueue(5, 2)
    for start in (0, 3, 6):
        queue.enqueue(torch.arange(start, start + 3.0)[:, None].expand(3, 2))
    assert queue.keys[:, 0].tolist() == [5.0, 6.0, 7.0, 8.0, 4.0]
    assert int(queue.pointer) == 4
    queue.enqueue(torch.arange(20.0)[:, None].expand(20, 2))
    assert sorted(queue.keys[:, 0].tolist()) == [15.0, 16.0, 17.0, 18.0, 19.0]
    with pytest.raises(UserError, match="a queue holds at least one key, but its size is 0"):
        KeyQueue(0, 2)


def test_negatives_do_not_change_behind_the_back():
    queue = KeyQueue(3, 2)
    before = queue.negatives()
    queue.enqueue(torch.ones(3, 2))
    assert not torch.equal(before, queue.keys)


def test_momentum_moves_parameters_and_no_buffer():
    slow, fast = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
    with torch.no_grad():
        fast.weight.fill_(3.0)
        fast.running_mean.fill_(9.0)
    follow(slow, fast, 0.75)
    assert slow.weight.tolist() == [1.5, 1.5]
    assert slow.running_mean.tolist() == [0.0, 0.0]


def test_supervised_contrast_of_views_is_nt_xent():
    first, second = pairs(5)
    labels = torch.arange(5).repeat(2)
    views = torch.cat([first, second])
    losses = supervised_contrast(views, labels, temperature=0.5)
    torch.testing.assert_close(losses.view(2, 5).mean(0), nt_xent(first, second, temperature=0.5))


def test_a_class_of_one_has_no_loss():
    rows, _ = pairs(4)
    losses = supervised_contrast(rows, torch.tensor([0, 0, 1, 2]))
    assert (losses > 0).tolist() == [True, True, False, False]
    with pytest.raises(UserError, match="4 rows are contrasted by their class, but there are 3 labels"):
        supervised_contrast(rows, torch.tensor([0, 0, 1]))


def test_the_batch_beside_a_queue_is_among_the_negatives():
    """A query is scored against the keys of its batch and those of the queue, as if all lay in one queue."""
    queries, keys, queue = (F.normalize(torch.randn(rows, 4), dim=1) for rows in (3, 3, 5))
    found = queue_losses(queries, keys, queue, 4.0, in_batch_negatives=True)
    for row in range(3):
        others = torch.cat([keys[:row], keys[row + 1 :], queue])
        own = queue_losses(queries[row : row + 1], keys[row : row + 1], others, 4.0)
        torch.testing.assert_close(found[row], own[0])
