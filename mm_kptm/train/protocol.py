"""What the trainer asks of a model and of its data: three protocols, and nothing about text, images or facts.

A task, an objective mixture or a toy in a test satisfies them by having the methods; nobody inherits from them. Which
batch it is lies between a source and its model, so both are generic in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn
from typing_extensions import TypeVar


class Batch(Protocol):
    """Some examples, put together."""

    def to(self, device: torch.device | str) -> Self:
        """The same batch with every tensor on ``device``."""

    def __len__(self) -> int:
        """How many examples are in it."""


BatchT = TypeVar("BatchT", bound=Batch, default=Batch)
BatchTaken = TypeVar("BatchTaken", bound=Batch, default=Batch, contravariant=True)
BatchGiven = TypeVar("BatchGiven", bound=Batch, default=Batch, covariant=True)


class Trainable(Protocol[BatchTaken]):
    """What scores a batch; it must be a ``torch.nn.Module`` as well, which a protocol cannot say."""

    def loss(self, batch: BatchTaken) -> Tensor:
        """The mean loss over the examples of the batch, a scalar."""

    def measure(self, batch: BatchTaken) -> dict[str, Tensor]:
        """Named measures, one number per example, each [B] in the order of the batch."""


class Source(Protocol[BatchGiven]):
    """Examples by number, and the batch made of some of them."""

    def __len__(self) -> int:
        """How many examples there are."""

    def length(self, index: int) -> int:
        """How many rows (tokens, regions) that example brings; batches are made of similar ones."""

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> BatchGiven:
        """The batch of these examples in this order; every random choice comes from ``generator``."""


@runtime_checkable
class Scheduled(Protocol[BatchGiven]):
    """A source whose batches change as training goes on; what it gives follows from the step alone."""

    def at(self, step: int) -> Source[BatchGiven]:
        """What is trained on at a step, the first being 1; its examples are numbered as those of the source."""


def module_of(model: Trainable[BatchT]) -> nn.Module:
    """The same object as a module; ``TypeError`` when it is none."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"a model must be a torch.nn.Module, but {type(model).__name__} is not")
    return model
