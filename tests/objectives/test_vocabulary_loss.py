"""The loss over a large vocabulary is that of all rows at once, in less memory."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mm_kptm.objectives import vocabulary_loss
from mm_kptm.objectives.vocabulary_loss import vocabulary_losses


def test_pieces_have_the_losses_and_gradients_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    head = nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 50)).double()
    rows = torch.randn(23, 4, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(50, (23,))
    kept: list[int] = []

    def store(x: torch.Tensor) -> torch.Tensor:
        kept.append(x.numel())
        return x

    found = []
    for most in (1 << 28, 50 * 5):
        monkeypatch.setattr(vocabulary_loss, "MAX_SCORES", most)
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(store, lambda x: x):
            losses = vocabulary_losses(head, rows, labels)
        found.append((losses, *torch.autograd.grad(losses.square().sum(), [rows, *head.parameters()])))
        assert (23 * 50 in kept) is (most == 1 << 28), "scores of all rows are stored only together"
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(found[0][0], F.cross_entropy(head(rows), labels, reduction="none"))


def test_pieces_are_made_where_nothing_is_differentiated_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary_loss, "MAX_SCORES", 50 * 5)
    head, seen = nn.Linear(4, 50), []
    head.register_forward_hook(lambda module, given, scores: seen.append(len(scores)))
    rows, labels = torch.randn(23, 4), torch.randint(50, (23,))
    with torch.no_grad():
        losses = vocabulary_losses(head, rows, labels)
    assert seen == [5, 5, 5, 5, 3]
    torch.testing.assert_close(losses, F.cross_entropy(head(rows), labels, reduction="none"))
