"""Similarities of a joint space: how cosines become scores.

Shapes: B texts, N images, D dim.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Similarity(nn.Module, ABC):
    """Cosines times a scale, plus a bias where there is one."""

    bias: Tensor | None  #: added to every score; None: nothing

    @abstractmethod
    def scale(self) -> Tensor:
        """The inverse temperature, a scalar."""

    def forward(self, images: Tensor, texts: Tensor) -> Tensor:
        """The score of every image with every text: [N, D], [B, D] -> [N, B]."""
        scores = self.scale() * F.normalize(images, dim=-1) @ F.normalize(texts, dim=-1).T
        return scores if self.bias is None else scores + self.bias


class ScaledSimilarity(Similarity):
    """A scale whose logarithm is learned (Radford et al. 2021, section 2.5), and SigLIP's bias.

    Args:
        log_scale: initial logarithm of the scale; training keeps it between 0 and log 100.
        bias: initial bias of the scores; None: none.
    """

    def __init__(self, log_scale: float = math.log(1 / 0.07), bias: float | None = None) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(float(log_scale)))
        self.bias = None if bias is None else nn.Parameter(torch.tensor(float(bias)))

    def scale(self) -> Tensor:
        """exp(log_scale), a scalar."""
        if self.training and torch.is_grad_enabled():
            with torch.no_grad():
                self.log_scale.clamp_(0, math.log(100))
        return self.log_scale.exp()


class DividedSimilarity(Similarity):
    """A learned temperature that divides, which nothing bounds (Jia et al. 2021, ALIGN, section 3.2)."""

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.tensor(float(temperature)))
        self.bias = None

    def scale(self) -> Tensor:
        """One by the temperature, a scalar."""
        return 1 / self.temperature


class FixedSimilarity(Similarity):
    """A temperature that is not learned, as of MoCo and BriVL."""

    def __init__(self, temperature: float = 0.07) -> None:
        super().__init__()
        self.temperature = temperature
        self.bias = None

    def scale(self) -> Tensor:
        """One by the temperature, a scalar."""
        return torch.tensor(1 / self.temperature)
