"""Batches made one after the other, in this process or ahead of time in others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from torch.utils.data import DataLoader, Dataset

Order = TypeVar("Order")
Made = TypeVar("Made")


class _OnDemandDataset(Dataset[tuple[Order, Made]], Generic[Order, Made]):
    """``make`` as a data set that is indexed by orders instead of numbers."""

    def __init__(self, make: Callable[[Order], Made]) -> None:
        self._make = make

    def __getitem__(self, order: Order) -> tuple[Order, Made]:
        return order, self._make(order)


def prefetch(
    make: Callable[[Order], Made], orders: Iterable[Order], *, num_workers: int
) -> Iterator[tuple[Order, Made]]:
    """Every order with what ``make`` made of it, in order.

    What is made must follow from the order alone; then it does not matter which process makes it, or when.
    """
    if not num_workers:
        return ((order, make(order)) for order in orders)
    kitchen = _OnDemandDataset(make)
    return iter(DataLoader(kitchen, batch_size=None, sampler=orders, num_workers=num_workers, collate_fn=_as_it_is))


def _as_it_is(made: Any) -> Any:  # as DataLoader types it
    return made
