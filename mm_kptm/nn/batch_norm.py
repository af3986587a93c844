"""Batch normalisation whose running statistics are saved and loaded with the weights.

Shapes: P rows, D dim.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BatchNorm(nn.Module):
    """Batch normalisation in training, by running statistics otherwise (Ioffe and Szegedy 2015).

    A batch of one row is normalised by the running statistics, as it has no variance of its own.
    """

    def __init__(self, dim: int, *, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps = eps
        self.momentum = momentum
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.running_mean = nn.Parameter(torch.zeros(dim), requires_grad=False)
        self.running_var = nn.Parameter(torch.ones(dim), requires_grad=False)

    def forward(self, rows: Tensor) -> Tensor:
        """[P, D] -> [P, D]."""
        return F.batch_norm(
            rows,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training=self.training and len(rows) > 1,
            momentum=self.momentum,
            eps=self.eps,
        )
