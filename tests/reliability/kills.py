"""Processes that die by SIGKILL at the first, second, ... n-th operation that changes a file."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mm_kptm.io import atomic

_CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "shutil.rmtree", "os.chmod", "os.link")
_PROCESSES = multiprocessing.get_context("fork")

Work = Callable[[Path], object]


def steps(usual: int) -> pytest.MarkDecorator:
    """Parametrise ``step``: every operation is tried by `make slow`, every ``usual``-th one otherwise."""
    return pytest.mark.parametrize("step", [usual, pytest.param(1, marks=pytest.mark.slow)])


def deaths(work: Work, places: Path, step: int, *, prepare: Work = Path.mkdir) -> Iterator[tuple[Path, bool]]:
    """Iterate over folders in which the work was killed, the last one by nothing.

    Args:
        work: changes the folder that it is given.
        places: where the folders are made.
        step: operations from one death to the next.
        prepare: makes a folder before the work.

    Yields:
        A folder, and whether the work ended there.
    """
    deadly, ended = 1, False
    while not ended:
        place = places / f"killed-at-{deadly}"
        prepare(place)
        code = _killed_at(deadly, work, place)
        assert code in (0, -signal.SIGKILL)
        ended = code == 0
        yield place, ended
        deadly += step
    assert deadly > 10, "the operations are seen"


def _killed_at(deadly: int, work: Work, place: Path) -> int | None:
    process = _PROCESSES.Process(target=_work_until, args=(deadly, work, place))
    process.start()
    process.join()
    return process.exitcode


def _work_until(deadly: int, work: Work, place: Path) -> None:
    """Work, and die just before the operation of that number."""
    quick()
    done = 0

    def die(event: str, args: tuple[object, ...]) -> None:
        nonlocal done
        writes = event == "open" and str(args[0]).startswith(str(place)) and _opens_to_write(args)
        if writes or event in _CHANGES:
            done += 1
            if done == deadly:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(die)
    work(place)


def _opens_to_write(args: tuple[object, ...]) -> bool:
    mode, flags = args[1], args[2]
    if isinstance(mode, str):
        return any(one in mode for one in "wax+")
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR))  # of os.open


def quick() -> None:
    """Leave out fsync, which no kill undoes, and which takes time."""
    atomic.os.fsync = lambda file: None  # type: ignore[assignment]
