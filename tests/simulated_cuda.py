"""A CUDA device that computes shapes alone, beside a host that computes values; it counts what is read back.

Tensors on the host are real ones and those on the device are fake, so a value of the device cannot reach the host
without an operator that says so.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CUDA = torch.device("cuda:0")
#: Operators that wait for the device, since the shape or the value of what they give depends on its numbers.
READS = {
    "_local_scalar_dense", "nonzero", "_unique2", "unique_dim", "unique_consecutive", "bincount", "masked_select",
    "equal", "is_nonzero",
}  # fmt: skip


class SimulatedCuda(TorchDispatchMode):
    """Host operators run; device operators give fake tensors, and those that wait for the device are recorded."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # of torch
        self.operators: list[str] = []
        self.reads: list[str] = []
        self.bytes_sent = 0  #: of tensors that were copied to the device

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        there = any(isinstance(x, FakeTensor) for x in given)
        target = kwargs.get("device")
        if not there and (target is None or torch.device(target).type == "cpu"):
            with unset_fake_temporarily():
                return func(*args, **kwargs)
        name = func.overloadpacket.__name__
        if not there:
            self.bytes_sent += sum(x.nbytes for x in given)
        self.operators.append(name)
        boolean = name in ("index", "index_put", "index_put_") and any(
            isinstance(x, Tensor) and x.dtype == torch.bool for x in args[1]
        )
        to_host = there and target is not None and torch.device(target).type == "cpu"
        if there and (name in READS or boolean or to_host):
            where = [line for line in traceback.extract_stack() if "/mm_kptm/" in line.filename]
            last = where[-1] if where else None
            self.reads.append(f"{name} at {last.filename.split('/mm_kptm/')[1]}:{last.lineno}" if last else name)
        return func(*args, **kwargs)

    def count(self, *names: str) -> int:
        """How many operators had one of these words in their names."""
        return sum(any(name in operator for name in names) for operator in self.operators)


@contextmanager
def simulated_cuda() -> Iterator[SimulatedCuda]:
    """Context manager: the device ``CUDA`` is simulated."""
    with FakeTensorMode(allow_non_fake_inputs=True), SimulatedCuda() as device:
        yield device


def send(module: nn.Module) -> None:
    """Put the weights of a module on the simulated device, tied ones together; they cannot come back."""
    sent: dict[Tensor, Tensor] = {}
    for part in module.modules():
        for name, weight in part._parameters.items():
            if weight is not None:
                if weight not in sent:
                    sent[weight] = nn.Parameter(weight.detach().to(CUDA), requires_grad=weight.requires_grad)
                part._parameters[name] = sent[weight]  # type: ignore[assignment]  # the values are parameters
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = buffer.to(CUDA)
