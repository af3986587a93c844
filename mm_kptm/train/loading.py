"""Batch loading in this process or, ahead of time, in worker processes; copies to the device beside its computing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mm_kptm.batch.rows import tensors_of
from mm_kptm.train.preemption import outlive_signal
from mm_kptm.train.protocol import BatchT

Order = TypeVar("Order")
Made = TypeVar("Made")


WORKERS_ON_CUDA = 4  #: unless the settings say how many: a batch takes as long to make as a step on such a device


def num_workers_for(asked: int | None, device: torch.device) -> int:
    """Number of worker processes: as asked, or what suits the device."""
    if asked is not None:
        return asked
    return min(WORKERS_ON_CUDA, os.cpu_count() or 1) if device.type == "cuda" else 0


class _OnDemandDataset(Dataset[tuple[Order, Made]], Generic[Order, Made]):
    """Map-style dataset over ``make``, indexed by orders instead of integers."""

    def __init__(self, make: Callable[[Order], Made]) -> None:
        self._make = make

    def __getitem__(self, order: Order) -> tuple[Order, Made]:
        return order, self._make(order)


class Loader(Generic[Order, Made]):
    """Maker of batches, whose worker processes are kept from one pass to the next.

    Args:
        make: a deterministic function of the order, so that it does not matter which process calls it.
        num_workers: worker processes; 0: this process makes them.
    """

    def __init__(self, make: Callable[[Order], Made], *, num_workers: int) -> None:
        self._make, self._orders = make, _Orders[Order]()
        self._workers: DataLoader[tuple[Order, Made]] | None = None
        if num_workers:
            self._workers = DataLoader(
                _OnDemandDataset(make),
                batch_size=None,
                sampler=self._orders,
                num_workers=num_workers,
                collate_fn=_identity,
                worker_init_fn=outlive_signal,
                persistent_workers=True,
            )

    def __call__(self, orders: Iterable[Order]) -> Iterator[tuple[Order, Made]]:
        """Iterate over (order, make(order)), in order; one pass at a time."""
        if self._workers is None:
            return ((order, self._make(order)) for order in orders)
        self._orders.current = orders
        return iter(self._workers)


class _Orders(Generic[Order]):
    """Sampler of the orders of the current pass."""

    current: Iterable[Order] = ()

    def __iter__(self) -> Iterator[Order]:
        return iter(self.current)


def prefetch(
    make: Callable[[Order], Made], orders: Iterable[Order], *, num_workers: int
) -> Iterator[tuple[Order, Made]]:
    """Iterate once over (order, make(order)), in order, see :class:`Loader`."""
    return Loader(make, num_workers=num_workers)(orders)


def _identity(batch: Any) -> Any:  # as DataLoader types it
    return batch


class Copies:
    """Copies of batches to a device; on CUDA on a stream of their own, while the device computes earlier steps.

    The host runs ahead of the device, so a copy that does not queue behind its kernels is done when they are.

    Args:
        device: that computes.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: Any = torch.cuda.Stream(device) if device.type == "cuda" else None

    def __call__(self, batch: BatchT) -> BatchT:
        """The batch on the device; what is computed with it from now on waits for the copy."""
        if self._stream is None:
            return batch.to(self._device)
        computing = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._stream):
            there = batch.to(self._device)
        computing.wait_stream(self._stream)
        for tensor in tensors_of(there):
            _kept_for(tensor, computing)
        return there


def _kept_for(tensor: Tensor, stream: Any) -> None:
    """Memory of a tensor made on another stream is not used again before this one is through with it."""
    if tensor.device.type == "cuda":
        tensor.record_stream(stream)
