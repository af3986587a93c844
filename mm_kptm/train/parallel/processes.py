"""Processes of one launch: joint start, one main process for output, joint end.

The launcher, ``torchrun`` or ``accelerate launch``, is read from the environment, as torch does. A process without a
launcher is the only one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed
from torch import Tensor

from mm_kptm.errors import UserError
from mm_kptm.io.text_lines import is_count

Value = TypeVar("Value")

PATIENCE = 2.0  #: seconds that failing processes wait for the first one: a launcher kills all once one has exited
TIMEOUT = "MM_KPTM_TIMEOUT"  #: environment variable: seconds that a process waits for the others
HUNG = ("Timed out", "timed out", "Application timeout")  #: gloo's messages about a process that does not answer
LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe")  #: gloo's messages about a dead process
_stand_in: ContextVar[bool] = ContextVar("stand_in", default=False)


class Preempted(Exception):
    """A run has ended early, in every process, with a checkpoint from which it can be resumed."""


def start() -> torch.device:
    """Join the process group, if not yet done, and return the device of this process.

    A process that waits longer for another one than :data:`TIMEOUT` says (default: torch's, 10 to 30 minutes) fails.

    Raises:
        UserError: the timeout is no number of seconds.
    """
    from accelerate import PartialState  # takes a while to import; measuring in one process needs none

    launched = "LOCAL_RANK" in os.environ
    cpu_requested = os.environ.get("ACCELERATE_USE_CPU", "false").lower() in ("true", "1")
    # unless cpu is set, accelerate treats launched processes without a GPU as independent single ones
    state = PartialState(
        cpu=cpu_requested or (launched and not (torch.cuda.is_available() or torch.xpu.is_available())),
        **({} if (limit := timeout()) is None else {"timeout": limit}),
    )
    device: torch.device = state.device
    return device


def timeout() -> timedelta | None:
    """How long a process waits for the others, as :data:`TIMEOUT` says; None: as torch does.

    Raises:
        UserError: it is no number of seconds.
    """
    if not (seconds := os.environ.get(TIMEOUT)):
        return None
    if not is_count(seconds) or not 0 < int(seconds) < 10**7:
        raise UserError(f"{TIMEOUT} is {seconds!r} but must be a whole number of seconds, such as 600")
    return timedelta(seconds=int(seconds))


def rank_and_world_size() -> tuple[int, int]:
    """Rank of this process and number of processes."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def is_main_process() -> bool:
    """Whether this is the main process, which logs and writes."""
    return rank_and_world_size()[0] == 0


def barrier() -> None:
    """Wait for every process."""
    if rank_and_world_size()[1] > 1:
        torch.distributed.barrier()


def all_gather_object(value: Value) -> list[Value]:
    """Gather a picklable value from every process, in order of rank."""
    _, processes = rank_and_world_size()
    values = [value] * processes
    if processes > 1:
        torch.distributed.all_gather_object(values, value)
    return values


@contextmanager
def standing_in(active: bool = True) -> Iterator[None]:
    """Context manager: this process has no example of a step, and computes with one of another process instead.

    Its loss has weight zero, and its rows are not among those that are gathered from all processes.
    """
    token = _stand_in.set(active)
    try:
        yield
    finally:
        _stand_in.reset(token)


def is_stand_in() -> bool:
    """Whether this process computes with an example of another one (:func:`standing_in`)."""
    return _stand_in.get()


def all_gather_rows(rows: Tensor) -> Tensor:
    """Concatenate the rows [B, ...] of every process, in order of rank; each may have another number of rows.

    Nothing flows back through them. Those of a process that stands in are left out.
    """
    rows = rows.detach()[: 0 if is_stand_in() else None]
    _, processes = rank_and_world_size()
    if processes == 1:
        return rows
    counts = [torch.zeros(1, dtype=torch.long, device=rows.device) for _ in range(processes)]
    torch.distributed.all_gather(counts, counts[0].new_tensor([len(rows)]))
    longest = max(map(int, counts))
    padded = torch.cat([rows, rows.new_zeros(longest - len(rows), *rows.shape[1:])])
    gathered = [torch.empty_like(padded) for _ in range(processes)]
    torch.distributed.all_gather(gathered, padded)
    return torch.cat([part[: int(count)] for part, count in zip(gathered, counts, strict=True)])


class _AllReduceSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total)
        return total


def all_reduce_sum(values: Tensor) -> Tensor:
    """Sum of the tensors of every process, which all have one shape.

    The gradient of the sum is that of the losses of all processes together, so every process must compute one.
    """
    if rank_and_world_size()[1] == 1:
        return values
    total: Tensor = _AllReduceSum.apply(values)
    return total


@contextmanager
def process_group() -> Iterator[None]:
    """Context manager of the process group around a whole command.

    All leave together, also where a run was preempted. On failure, the first failing process raises its error and all
    others exit silently with code 2, so that a launch reports one error.

    Raises:
        UserError: another process died without an error message.
    """
    start()
    try:
        yield
    except Preempted:  # by all processes, after the same step
        _leave()
        raise
    except (Exception, KeyboardInterrupt) as error:
        if rank_and_world_size()[1] > 1 and not _is_first_to_fail():
            time.sleep(PATIENCE)
            raise SystemExit(2) from None
        if isinstance(error, RuntimeError) and any(words in str(error) for words in LOST):
            raise UserError(
                "another process of this launch died without a word, as it does when memory runs out; what the "
                "launcher says below names it, and --resume goes on from the last checkpoint"
            ) from error
        if isinstance(error, RuntimeError) and any(words in str(error) for words in HUNG):
            raise UserError(
                f"another process of this launch did not answer within the time that {TIMEOUT} gives it; if it only "
                "takes long, give it more seconds, and --resume goes on from the last checkpoint"
            ) from error
        raise
    _leave()


def _leave() -> None:
    barrier()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _is_first_to_fail() -> bool:
    """Whether this is the first process of the launch to fail; call once."""
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    try:
        store = torch.distributed.TCPStore(  # type: ignore[attr-defined]  # torch exports it without a stub
            os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False, timeout=timedelta(seconds=10)
        )
        return store.add(f"mm_kptm/failed/{attempt}", 1) == 1
    except RuntimeError:  # the process that hosts the store is dead: report rather than stay silent
        return True
