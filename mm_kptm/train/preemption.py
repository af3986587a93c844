"""Early end of a run on a signal of the scheduler or at a limit of time, with a checkpoint to resume from.

Schedulers announce that they will end a job: SLURM by SIGTERM, or by SIGUSR1 where a job asks for it with ``--signal``;
Kubernetes and cloud machines by SIGTERM. A run that hears one finishes its step, saves and ends. The signal may reach
one process only, so the processes of a launch agree: every step they exchange what they have heard, and read it one
step later, so that no step waits for the exchange.
"""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any, Self

import torch
import torch.distributed
from torch import Tensor

from mm_kptm.train.parallel.processes import Preempted, rank_and_world_size, timeout

EXIT_CODE = 75  #: of a preempted command: EX_TEMPFAIL of sysexits.h, "try again later"; SLURM's RequeueExit can name it
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
_TIME_LIMIT = 1  # below the numbers of the signals, which win over it
#: Seconds in which the same signal counts as one: SLURM signals every process of a step, and ``torchrun``, which is one
#: of them, hands on what it hears.
ONE_NOTICE = 5.0
_clock = time.monotonic


class Preemption:
    """Context manager that listens for signals and watches a limit of time.

    A signal for which the caller has set a handler is left to that handler. The second signal of a kind, later than
    :data:`ONE_NOTICE` after the first, does what it would have done without this class, which is to end the process.
    Only the main thread listens.

    Args:
        max_hours: limit of time from now on, in hours; None: no limit.
    """

    def __init__(self, max_hours: float | None = None) -> None:
        self._end = None if max_hours is None else _clock() + 3600 * max_hours
        self._heard = self._agreed_on = 0
        self._listening: list[signal.Signals] = []
        self._repeated = _Repeated()
        self._group: Any = None  # a gloo group beside the one that trains, as the exchange is on the CPU
        self._exchange: tuple[Any, Tensor] | None = None

    def __enter__(self) -> Self:
        if rank_and_world_size()[1] > 1:
            self._group = torch.distributed.new_group(backend="gloo", timeout=timeout())
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is signal.SIG_DFL:
                    signal.signal(number, self._hear)
                    self._listening.append(number)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in self._listening:
            signal.signal(number, signal.SIG_DFL)
        self._listening.clear()
        if self._group is not None and isinstance(error, Preempted | None):  # else another process may be dead
            self._agreed()
            torch.distributed.destroy_process_group(self._group)

    def _hear(self, number: int, _: FrameType | None) -> None:
        self._heard = number
        self._repeated(number)

    def requested(self) -> bool:
        """Whether the run must end after this step; all processes call it once a step, and get the same answer.

        With several processes it is about what one of them had heard in the step before.
        """
        if not self._heard and self._end is not None and _clock() >= self._end:
            self._heard = _TIME_LIMIT
        self._agreed_on = self._heard
        if self._group is not None:
            largest, self._agreed_on = torch.tensor([self._heard]), self._agreed()
            work = torch.distributed.all_reduce(
                largest, torch.distributed.ReduceOp.MAX, group=self._group, async_op=True
            )
            self._exchange = (work, largest)
        return self._agreed_on != 0

    def preempted(self, step: int, steps: int) -> Preempted:
        """The exception that ends a run of ``steps`` steps, saved at ``step``, for the reason that was requested."""
        limit = self._agreed_on == _TIME_LIMIT
        reason = "train.max_hours" if limit else signal.Signals(self._agreed_on).name
        return Preempted(f"ended by {reason} after step {step} of {steps}, with a checkpoint of it to resume from")

    def _agreed(self) -> int:
        """Largest code of the last exchange."""
        if self._exchange is None:
            return 0
        work, code = self._exchange
        work.wait()
        self._exchange = None
        return int(code)


class _Repeated:
    """Ends the process by a signal that comes again, unless it is the same notice by another way."""

    def __init__(self) -> None:
        self._first: dict[int, float] = {}

    def __call__(self, number: int, _: FrameType | None = None) -> None:
        now = _clock()
        if now - self._first.setdefault(number, now) > ONE_NOTICE:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)


def outlive_signal(_: int = 0) -> None:
    """Let a worker process that builds batches outlive the first SIGTERM and SIGUSR1, which its whole group receives.

    The run still needs its batches to come to its checkpoint. A second signal ends the worker, as it ends the run.
    """
    repeated = _Repeated()
    for number in SIGNALS:
        signal.signal(number, repeated)
