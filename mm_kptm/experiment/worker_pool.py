"""Jobs in single-threaded worker processes; results do not depend on the number of workers.

Small models gain little from a second thread and lose reproducibility (sums in another order), so a machine with two
cores does two runs at a time instead of one run twice as fast.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.queues import SimpleQueue
from typing import TypeVar

import torch

from mm_kptm.errors import UserError
from mm_kptm.systems.plugin_files import load_inherited

VISIBLE = "CUDA_VISIBLE_DEVICES"
Job = TypeVar("Job")
Outcome = TypeVar("Outcome")


class WorkerDied(UserError):
    """A worker process was killed; which of its jobs was the cause is not known."""


def outcomes(
    work: Callable[[Job], Outcome], jobs: Sequence[Job], *, workers: int, first: int = 0
) -> Iterator[tuple[int, Outcome]]:
    """Iterate over (index of the job, its result) in order of completion.

    Jobs start in their order. Each worker has one of the devices that this process may use, in turn. Whatever ends the
    iteration early (an error in a job, Ctrl-C, a closed iterator) ends the workers too, and so does the death of the
    parent process. Workers print to stderr only.

    Args:
        work: a module-level function; it and its results must be picklable, because workers are spawned.
        jobs: picklable arguments of ``work``, one per call.
        workers: parallel processes.
        first: number of leading jobs that must finish before the others start.

    Raises:
        UserError: fewer than one worker, or (:class:`WorkerDied`) a worker died; exceptions of jobs are re-raised.
    """
    if workers < 1:
        raise UserError(f"{workers} workers were asked for; at least 1 is needed")
    if not jobs:
        return
    others = set(multiprocessing.active_children())
    context, count = multiprocessing.get_context("spawn"), min(workers, len(jobs))
    devices = context.SimpleQueue()
    for device in dealt(visible_devices(), count):
        devices.put(device)
    executor = ProcessPoolExecutor(count, mp_context=context, initializer=_settle, initargs=(devices,))
    try:
        for wave in (range(first), range(first, len(jobs))):
            with _hold_sigint():  # the workers are spawned here and inherit it
                indices = {executor.submit(work, jobs[index]): index for index in wave}
            for future in as_completed(indices):
                yield indices[future], future.result()
    except BrokenProcessPool:
        raise WorkerDied(
            "a worker process died without a word, as it does when memory runs out; start again with fewer workers"
        ) from None
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        while left := set(multiprocessing.active_children()) - others:  # one may have started meanwhile
            for child in left:
                child.terminate()
                child.join()


@contextlib.contextmanager
def _hold_sigint() -> Iterator[None]:
    """Context manager that holds SIGINT back until its end; processes spawned within it never see it."""
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def visible_devices() -> list[str]:
    """The CUDA devices that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them; CUDA is not started."""
    if (named := os.environ.get(VISIBLE)) is not None:
        return [device.strip() for device in named.split(",") if device.strip()]
    return [str(number) for number in range(torch.cuda.device_count())]


def dealt(devices: Sequence[str], workers: int) -> list[str | None]:
    """The device of each worker, in turn; None for all where there is no device.

    >>> dealt(["0", "1"], 3)
    ['0', '1', '0']
    """
    return [devices[number % len(devices)] if devices else None for number in range(workers)]


def _settle(devices: SimpleQueue[str | None]) -> None:
    """Initialise a worker: a device, one thread, plug-ins, stdout redirected to stderr, exit with the parent."""
    if (device := devices.get()) is not None:
        os.environ[VISIBLE] = device
    torch.set_num_threads(1)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))  # at once: a run would save first
    load_inherited()
    threading.Thread(target=_follow, daemon=True).start()
    sys.stdout.flush()
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())


def _follow() -> None:
    """Exit when the parent does: a killed parent cannot stop its workers, which would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
