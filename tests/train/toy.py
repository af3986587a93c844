"""A model and a source small enough to train in a moment, with what is hard to resume: dropout, noise, tied weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from mm_kptm.nn.sublayers import FeedForwardSublayer, Layer, bert_norm


@dataclass(frozen=True)
class Points:
    x: Tensor
    y: Tensor
    noise: Tensor

    def to(self, device: torch.device | str) -> Self:
        return replace(self, x=self.x.to(device), y=self.y.to(device), noise=self.noise.to(device))

    def __len__(self) -> int:
        return len(self.x)


class PointSource:
    """Examples whose target is a fixed function of them; every batch is shaken by its generator."""

    def __init__(self, n: int, *, shake: float = 0.1, poison: int | None = None) -> None:
        self.x = torch.randn(n, 4, generator=torch.Generator().manual_seed(7))
        self.poison = poison
        self.shake = shake

    def __len__(self) -> int:
        return len(self.x)

    def length(self, index: int) -> int:
        return 1 + (index * 7) % 5

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Points:
        x = self.x[list(indices)]
        y = x.sum(dim=1, keepdim=True).sin()
        if self.poison in indices:
            y = y * torch.nan
        return Points(x, y, self.shake * torch.randn(x.shape, generator=generator))


class Line(nn.Module):
    def __init__(self, *, dropout: float = 0.1) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first = nn.Linear(4, 4)
        self.tied = nn.Linear(4, 4)
        self.tied.weight = self.first.weight
        self.norm = nn.LayerNorm(4)
        self.last = nn.Linear(4, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(self.dropout(self.tied(self.first(x).tanh()))))

    def loss(self, batch: Points) -> Tensor:
        return (self(batch.x + batch.noise) - batch.y).square().mean()

    def measure(self, batch: Points) -> dict[str, Tensor]:
        error = (self(batch.x) - batch.y).squeeze(1).abs()
        return {"error": error, "closeness": -error}


class Look(nn.Linear):
    """Stands where attention does."""

    def forward(self, x: Tensor, reading: None, source: None = None) -> Tensor:
        return x + super().forward(x).tanh()


class Deep(Line):
    """A line behind two layers, which sharding puts together one by one."""

    def __init__(self) -> None:
        super().__init__(dropout=0.0)
        feeds = [FeedForwardSublayer(4, 6, bert_norm(4), dropout=0.0) for _ in range(2)]
        self.layers = nn.ModuleList(Layer(Look(4, 4), feed) for feed in feeds)
        self.register_buffer("scale", torch.tensor([2.0, 1.0, 0.5, 1.0]))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x * self.scale, None)
        return super().forward(x)


class Followed(Line):
    """A line with a slow copy of its weights that follows them, and how often it was told to."""

    def __init__(self, *, dropout: float = 0.1) -> None:
        super().__init__(dropout=dropout)
        self.slow = nn.Parameter(self.last.weight.detach().clone(), requires_grad=False)
        self.told = nn.Parameter(torch.zeros(1, dtype=torch.long), requires_grad=False)

    def after_step(self, step: int) -> None:
        self.slow.mul_(0.5).add_(self.last.weight, alpha=0.5)
        self.told.fill_(step)
