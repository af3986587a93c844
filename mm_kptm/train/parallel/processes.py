"""The processes of one launch: they start together, one of them speaks and writes, and they end together.

Who started them, ``torchrun`` or ``accelerate launch``, is read from the environment, as torch does. A process that
nobody launched is the only one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed
from accelerate import PartialState

from mm_kptm.errors import UserError

Value = TypeVar("Value")

PATIENCE = 2.0  #: seconds that the others leave the one that speaks, for a launcher ends all as soon as one has ended
LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe")  #: what gloo says of a dead process


def start() -> torch.device:
    """Join the processes of this launch, if it has not happened yet; the device that is this process's."""
    launched = "LOCAL_RANK" in os.environ
    told = os.environ.get("ACCELERATE_USE_CPU", "false").lower() in ("true", "1")
    # not told, accelerate takes launched processes without a GPU for so many single ones, each with a run of its own
    state = PartialState(cpu=told or (launched and not (torch.cuda.is_available() or torch.xpu.is_available())))
    device: torch.device = state.device
    return device


def rank_and_world_size() -> tuple[int, int]:
    """Which process this is, and of how many."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def is_main_process() -> bool:
    """Whether this is the process that speaks and writes."""
    return rank_and_world_size()[0] == 0


def barrier() -> None:
    """Wait until every process has come here."""
    if rank_and_world_size()[1] > 1:
        torch.distributed.barrier()


def all_gather_object(value: Value) -> list[Value]:
    """What every process has here, in their order; anything that can be pickled."""
    _, processes = rank_and_world_size()
    values = [value] * processes
    if processes > 1:
        torch.distributed.all_gather_object(values, value)
    return values


@contextmanager
def process_group() -> Iterator[None]:
    """Start and end with the other processes of this launch; around a whole command.

    When something fails, the first process that it fails in goes on with its error and all others exit silently with
    code 2: one launch, one sentence.

    Raises:
        UserError: another process died without a word.
    """
    start()
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if rank_and_world_size()[1] > 1 and not _is_first_to_fail():
            time.sleep(PATIENCE)
            raise SystemExit(2) from None
        if isinstance(error, RuntimeError) and any(words in str(error) for words in LOST):
            raise UserError(
                "another process of this launch died without a word, as it does when memory runs out; what the "
                "launcher says below names it, and --resume goes on from the last checkpoint"
            ) from error
        raise
    barrier()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _is_first_to_fail() -> bool:
    """Whether no other process of this launch has failed before; asked once."""
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    try:
        store = torch.distributed.TCPStore(  # type: ignore[attr-defined]  # torch exports it without a stub
            os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False, timeout=timedelta(seconds=10)
        )
        return store.add(f"mm_kptm/failed/{attempt}", 1) == 1
    except RuntimeError:  # the process that kept the store is dead; better two sentences than none
        return True
