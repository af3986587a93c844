"""What the trainer asks of a model and of its data: three protocols, and nothing about text, images or facts.

A task, an objective mixture or a toy in a test satisfies them by having the methods; nobody inherits from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Self, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class Batch(Protocol):
    """Some examples, put together; what is inside is between the source and the model."""

    def to(self, device: torch.device | str) -> Self:
        """The same batch with every tensor on ``device``."""

    def __len__(self) -> int:
        """How many examples are in it."""


@runtime_checkable
class Trainable(Protocol):
    """A module that scores a batch; the trainer expects it to be a ``torch.nn.Module`` as well."""

    def loss(self, batch: Batch) -> Tensor:
        """The mean loss over the examples of the batch, a scalar."""

    def measure(self, batch: Batch) -> dict[str, Tensor]:
        """Named measures, one number per example, each [B] in the order of the batch."""


@runtime_checkable
class Source(Protocol):
    """Examples by number, and the batch made of some of them."""

    def __len__(self) -> int:
        """How many examples there are."""

    def length(self, index: int) -> int:
        """How many rows (tokens, regions) that example brings; batches are made of similar ones."""

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Batch:
        """The batch of these examples in this order; every random choice comes from ``generator``."""
