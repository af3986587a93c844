"""Profile of some steps: time on the host and on the device by operator, as a trace for Perfetto or Chrome."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, schedule

WARM_UP = 3  #: steps before the profile: the first ones compile and allocate
TRACE = "profile.json"


@contextmanager
def profiled(folder: Path, steps: int | None) -> Iterator[Callable[[], None]]:
    """Context manager that gives a function to call after every step.

    Args:
        folder: gets the trace, ``profile.json``.
        steps: how many to profile, after ``WARM_UP`` others; None: none.
    """
    if steps is None:
        yield lambda: None
        return
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]

    def save(found: profile) -> None:
        found.export_chrome_trace(str(folder / TRACE))

    plan = schedule(wait=WARM_UP - 1, warmup=1, active=steps, repeat=1)
    with profile(activities=activities, schedule=plan, on_trace_ready=save, profile_memory=True) as running:
        yield running.step
