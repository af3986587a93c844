"""Jobs in worker processes of one thread each; what a job answers does not depend on how many workers there are.

Small models gain little from a second thread and lose exactness by it (sums in another order), so a machine with two
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

Job = TypeVar("Job")
Outcome = TypeVar("Outcome")


def outcomes(
    work: Callable[[Job], Outcome], jobs: Sequence[Job], *, workers: int, first: int = 0
) -> Iterator[tuple[int, Outcome]]:
    """The number of each job with what ``work`` made of it, in the order in which they end.

    The jobs are begun in their order. Whatever ends the iteration early (a job's error, Ctrl-C, a reader that stops)
    ends the workers too, and so does the death of the process that asked. Nothing that a worker prints reaches stdout.

    Args:
        work: a function of a module; it and the outcomes must be picklable, since the workers are spawned.
        jobs: picklable arguments of ``work``, one a call.
        workers: processes at a time.
        first: this many jobs must have ended before any other begins.

    Raises:
        UserError: fewer than one worker was asked for, or a worker died; what a job raises is raised here.
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
            with _deaf():  # the workers are spawned here and inherit it
                places = {executor.submit(work, jobs[place]): place for place in wave}
            for future in as_completed(places):
                yield places[future], future.result()
    except BrokenProcessPool:
        raise UserError(
            "a worker process died without a word, as it does when memory runs out; start again with fewer workers"
        ) from None
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        while left := set(multiprocessing.active_children()) - others:  # one may have been begun meanwhile
            for child in left:
                child.terminate()
                child.join()


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """While it lasts Ctrl-C does nothing; what is begun meanwhile leaves it to its parent for good."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread may choose
        yield
        return
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, heard)


def _settle() -> None:
    """One thread; stdout is the parent's alone; no life after it."""
    torch.set_num_threads(1)
    threading.Thread(target=_follow, daemon=True).start()
    sys.stdout.flush()
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())


def _follow() -> None:
    """End with the parent: one that was killed can end nobody, and its workers would wait for more work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
