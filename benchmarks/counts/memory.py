"""The most bytes of tensors that were alive at once while some work was done, beyond those there before.

Counted at the dispatcher, so what an operator needs only inside itself is not seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Live(TorchDispatchMode):
    """Watches the storages that operators make."""

    def __init__(self) -> None:
        super().__init__()
        self.live: dict[StorageWeakRef, int] = {}
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = {
            StorageWeakRef(part.untyped_storage())
            for part in tree_leaves((args, kwargs or {}))
            if isinstance(part, Tensor)
        }
        made = func(*args, **(kwargs or {}))
        for part in tree_leaves(made):
            if isinstance(part, Tensor):
                storage = part.untyped_storage()
                reference = StorageWeakRef(storage)
                if reference not in before:  # a view of what was there before is nothing new
                    self.live[reference] = storage.nbytes()
        self.live = {reference: size for reference, size in self.live.items() if not reference.expired()}
        self.peak = max(self.peak, sum(self.live.values()))
        return made


def peak_bytes(work: Callable[[], object]) -> int:
    """Of one call."""
    with _Live() as watched:
        work()
    return watched.peak
