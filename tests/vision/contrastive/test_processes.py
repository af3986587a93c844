"""Losses over several processes with uneven shards are those of one process with the whole batch.

A process without any row stands in with one of another process, at weight zero, as the training loop does.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mm_kptm.train.parallel.processes import standing_in
from mm_kptm.vision.contrastive.losses.info_nce import contrast_losses, queue_losses
from mm_kptm.vision.contrastive.losses.queues import KeyQueue
from mm_kptm.vision.contrastive.losses.sigmoid import sigmoid_losses
from mm_kptm.vision.contrastive.losses.views import nt_xent, supervised_contrast
from tests.vision.contrastive.processes import in_processes

SHARES = {2: ([3, 5], [1, 0]), 3: ([1, 4, 2], [3, 2, 0])}
CLASSES = torch.tensor([0, 1, 0, 2, 1, 0, 2, 2])


def batch(count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(count)
    left, right = (torch.randn(count, 6, generator=generator) for _ in range(2))
    return left, right


def losses(name: str, left: Tensor, right: Tensor, scale: Tensor, classes: Tensor) -> Tensor:
    if name == "softmax":
        return contrast_losses(left, right, scale)
    if name == "smoothed":
        return contrast_losses(left, right, scale, label_smoothing=0.1)
    if name == "sigmoid":
        return sigmoid_losses(left, right, scale, -2.0)
    if name == "queue":
        keys, queue = F.normalize(right, dim=-1).detach(), F.normalize(batch(9)[0], dim=-1)
        return queue_losses(F.normalize(left, dim=-1), keys, queue, scale, in_batch_negatives=True) + 0 * right.sum()
    if name == "views":
        return nt_xent(left, right, temperature=0.3) + 0 * scale
    return supervised_contrast(left * right, classes) + 0 * scale


NAMES = ("softmax", "smoothed", "sigmoid", "queue", "views", "classes")


def of_one(rank: int, shares: list[int]) -> dict[str, Tensor]:
    """What one process contributes: its weighted loss and the gradients of all losses with regard to its rows."""
    total, start = sum(shares), sum(shares[:rank])
    weight = shares[rank] / total
    mine = slice(start, start + shares[rank]) if weight else slice(1)
    found: dict[str, Tensor] = {}
    with standing_in(not weight):
        for name in NAMES:
            left, right = (side[mine].clone().requires_grad_() for side in batch(total))
            scale = torch.tensor(4.0, requires_grad=True)
            loss = losses(name, left, right, scale, CLASSES[:total][mine]).mean() * weight
            loss.backward()
            found |= {f"{name}_loss": loss.detach(), f"{name}_scale": scale.grad}
            if weight:
                found |= {f"{name}_left": left.grad, f"{name}_right": right.grad}
        torch.manual_seed(0)
        queue = KeyQueue(4, 6)
        queue.enqueue(batch(total)[0][mine])
    return found | {"queue": queue.negatives()}


def of_every_one(rank: int, choices: tuple[list[int], ...]) -> list[dict[str, Tensor]]:
    return [of_one(rank, shares) for shares in choices]


@pytest.mark.parametrize("count", sorted(SHARES))
def test_uneven_shards_are_one_batch(count: int) -> None:
    for shares, *parts in zip(SHARES[count], *in_processes(of_every_one, count, SHARES[count]), strict=True):
        agree(of_one(0, [sum(shares)]), parts)


def agree(whole: dict[str, Tensor], parts: list[dict[str, Tensor]]) -> None:
    for name in NAMES:
        for what in ("loss", "scale"):
            total = torch.stack([part[f"{name}_{what}"] for part in parts]).sum()
            torch.testing.assert_close(total, whole[f"{name}_{what}"], atol=1e-6, rtol=0)
        for side in ("left", "right"):
            rows = torch.cat([part[f"{name}_{side}"] for part in parts if f"{name}_{side}" in part])
            torch.testing.assert_close(rows, whole[f"{name}_{side}"], atol=1e-6, rtol=0)
    for part in parts:
        assert torch.equal(part["queue"], whole["queue"]), "every process holds the same keys"
