"""Protocols between the trainer and a model and its data, independent of text, images and facts.

The protocols are structural: a task, an objective mixture or a toy model satisfies them by having the methods. Source
and model are generic in the batch type that they share.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from typing_extensions import TypeVar


class Batch(Protocol):
    """Collated examples."""

    def to(self, device: torch.device | str) -> Self:
        """The same batch with every tensor on ``device``."""

    def __len__(self) -> int:
        """Number of examples."""


BatchT = TypeVar("BatchT", bound=Batch, default=Batch)
BatchTaken = TypeVar("BatchTaken", bound=Batch, default=Batch, contravariant=True)
BatchGiven = TypeVar("BatchGiven", bound=Batch, default=Batch, covariant=True)


class Trainable(Protocol[BatchTaken]):
    """Trainable model; must be a ``torch.nn.Module`` as well, which a protocol cannot express."""

    def loss(self, batch: BatchTaken) -> Tensor:
        """Mean loss over the examples of the batch, a scalar."""

    def measure(self, batch: BatchTaken) -> dict[str, Tensor]:
        """Measures by name, one number per example, each [B] in the order of the batch."""


class Source(Protocol[BatchGiven]):
    """Indexed examples with collation."""

    def __len__(self) -> int:
        """Number of examples in the source."""

    def length(self, index: int) -> int:
        """Length of an example in rows (tokens, regions); batches group similar lengths."""

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> BatchGiven:
        """Collate these examples in this order; all randomness comes from ``generator``."""


@runtime_checkable
class KnownLengths(Protocol):
    """Source whose lengths are asked for all at once, without a call for each of millions of examples."""

    @property
    def lengths(self) -> NDArray[np.integer]:
        """Length of every example, [number of examples]."""


def lengths_of(source: Source[Any]) -> NDArray[np.int64]:
    """The length of every example of a source."""
    if isinstance(source, KnownLengths):
        return np.asarray(source.lengths, dtype=np.int64)
    return np.fromiter((source.length(index) for index in range(len(source))), np.int64, len(source))


@runtime_checkable
class Scheduled(Protocol[BatchGiven]):
    """Source that changes during training, as a function of the step alone."""

    def at(self, step: int) -> Source[BatchGiven]:
        """Source at a step, counted from 1, with the same example indices."""


@runtime_checkable
class AfterStep(Protocol):
    """Trainable with state that follows its weights, such as a momentum encoder (He et al. 2020, MoCo, eq. 2)."""

    def after_step(self, step: int) -> None:
        """Update that state after an optimiser step, counted from 1; called once per step, in every process."""


@runtime_checkable
class AfterEvaluation(Protocol):
    """Trainable whose training goes on otherwise by what it scored, such as tasks that pause (Lu et al. 2020)."""

    def after_evaluation(self, split: str, source: Source[Batch], evaluation: Any) -> None:
        """Take note of an :class:`~mm_kptm.train.evaluation.Evaluation` on a split; called in every process."""


def module_of(model: Trainable[BatchT]) -> nn.Module:
    """Cast to ``nn.Module``; ``TypeError`` if it is none."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"a model must be a torch.nn.Module, but {type(model).__name__} is not")
    return model
