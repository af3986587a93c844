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
from typing import TypeVar

import torch

from mm_kptm.errors import UserError
from mm_kptm.systems.plugin_files import load_inherited

Job = TypeVar("Job")
Outcome = TypeVar("Outcome")


def outcomes(
    work: Callable[[Job], Outcome], jobs: Sequence[Job], *, workers: int, first: int = 0
) -> Iterator[tuple[int, Outcome]]:
    """Iterate over (index of the job, its result) in order of completion.

    Jobs start in their order. Whatever ends the iteration early (an error in a job, Ctrl-C, a closed iterator) ends the
    workers too, and so does the death of the parent process. Workers print to stderr only.

    Args:
        work: a module-level function; it and its results must be picklable, because workers are spawned.
        jobs: picklable arguments of ``work``, one per call.
        workers: parallel processes.
        first: number of leading jobs that must finish before the others start.

    Raises:
        UserError: fewer than one worker, or a worker died; exceptions of jobs are re-raised.
    """
    if workers < 1:
        raise UserError(f"{workers} workers were asked for; at least 1 is needed")
    if not jobs:
        return
    others = set(multiprocessing.active_children())
    executor = ProcessPoolExecutor(
        min(workers, len(jobs)), mp_context=multiprocessing.get_context("spawn"), initializer=_settle
    )
    try:
        for wave in (range(first), range(first, len(jobs))):
            with _hold_sigint():  # the workers are spawned here and inherit it
                indices = {executor.submit(work, jobs[index]): index for index in wave}
            for future in as_completed(indices):
                yield indices[future], future.result()
    except BrokenProcessPool:
        raise UserError(
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


def _settle() -> None:
    """Initialise a worker: one thread, the parent's plug-ins, stdout redirected to stderr, exit with the parent."""
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
