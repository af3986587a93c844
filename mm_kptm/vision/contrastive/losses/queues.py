"""Queues of keys and encoders that follow by momentum (He et al. 2020, MoCo).

Shapes: K keys of a queue, B keys of a batch, D dim.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mm_kptm.errors import UserError
from mm_kptm.train.parallel.processes import all_gather_rows


class KeyQueue(nn.Module):
    """Ring buffer of normalised keys; its tensors are parameters without gradient, so that a saved system resumes.

    Args:
        size: K.
        dim: D.

    Raises:
        UserError: ``size`` is not positive.
    """

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        if size < 1:
            raise UserError(f"a queue holds at least one key, but its size is {size}")
        self.keys = nn.Parameter(F.normalize(torch.randn(size, dim), dim=1), requires_grad=False)
        self.pointer = nn.Parameter(torch.zeros(1, dtype=torch.long), requires_grad=False)

    def negatives(self) -> Tensor:
        """A copy of the keys, which later batches do not change, [K, D]."""
        return self.keys.detach().clone()

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Write the keys [B, D] of every process over the oldest ones; of more than K the last stay."""
        keys = all_gather_rows(keys)
        size, start = len(self.keys), int(self.pointer)
        places = (start + torch.arange(len(keys), device=keys.device)) % size
        self.keys[places[-size:]] = keys[-size:].to(self.keys.dtype)
        self.pointer.fill_((start + len(keys)) % size)


@torch.no_grad()
def follow(slow: nn.Module, fast: nn.Module, momentum: float) -> None:
    """Move every parameter of ``slow`` towards ``fast``: m * slow + (1 - m) * fast; buffers stay (eq. 2)."""
    for behind, ahead in zip(slow.parameters(), fast.parameters(), strict=True):
        behind.mul_(momentum).add_(ahead, alpha=1 - momentum)
