"""Batch loading in this process or, ahead of time, in worker processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from torch.utils.data import DataLoader, Dataset

from mm_kptm.train.preemption import outlive_signal

Order = TypeVar("Order")
Made = TypeVar("Made")


class _OnDemandDataset(Dataset[tuple[Order, Made]], Generic[Order, Made]):
    """Map-style dataset over ``make``, indexed by orders instead of integers."""

    def __init__(self, make: Callable[[Order], Made]) -> None:
        self._make = make

    def __getitem__(self, order: Order) -> tuple[Order, Made]:
        return order, self._make(order)


def prefetch(
    make: Callable[[Order], Made], orders: Iterable[Order], *, num_workers: int
) -> Iterator[tuple[Order, Made]]:
    """Iterate over (order, make(order)), in order.

    ``make`` must be a deterministic function of the order, so that it does not matter which process calls it.
    """
    if not num_workers:
        return ((order, make(order)) for order in orders)
    dataset = _OnDemandDataset(make)
    loader = DataLoader(
        dataset,
        batch_size=None,
        sampler=orders,
        num_workers=num_workers,
        collate_fn=_identity,
        worker_init_fn=outlive_signal,
    )
    return iter(loader)


def _identity(batch: Any) -> Any:  # as DataLoader types it
    return batch
