"""OpenMP settings of a command: one thread per usable physical core, and no spinning.

OpenMP's defaults count hyper-threads and cores outside of a container's quota, and let idle threads spin, which on a
busy machine with two cores was up to forty times slower. The variables must be set before torch is loaded; the user's
own values are kept.
"""

from __future__ import annotations

import math
import os
from collections.abc import MutableMapping
from pathlib import Path

_TOPOLOGY = Path("/sys/devices/system/cpu")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def settle(environment: MutableMapping[str, str]) -> None:
    """Set the OpenMP variables that the user has not set."""
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    environment.setdefault("OMP_NUM_THREADS", str(physical_cores()))


def physical_cores(topology: Path = _TOPOLOGY, quota: Path = _QUOTA) -> int:
    """Number of usable physical cores: hyper-threads count once, and a container's CPU quota is a limit."""
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    cores = {_siblings(topology, cpu) for cpu in usable}
    return max(1, min(len(cores), _share(quota)))


def _siblings(topology: Path, cpu: int) -> str:
    """Hyper-threads of the same core, as the kernel lists them; the CPU number itself if it does not."""
    try:
        return (topology / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text().strip()
    except OSError:
        return str(cpu)


def _share(quota: Path) -> int:
    """Whole cores of a control group's quota (``200000 100000``: two)."""
    try:
        allowed, period = quota.read_text().split()
        return math.ceil(int(allowed) / int(period))
    except (OSError, ValueError):  # no control group, or "max": no limit
        return os.cpu_count() or 1
