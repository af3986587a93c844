"""How many threads a command uses: one for every core that it really has, and none that waits by spinning.

OpenMP's defaults count hyper-threads and cores that a container may not use, and let idle threads spin, which on a busy
machine with two cores costs up to forty times. The variables work only when they are set before torch loads. What the
user has set stays.
"""

from __future__ import annotations

import math
import os
from collections.abc import MutableMapping
from pathlib import Path

_TOPOLOGY = Path("/sys/devices/system/cpu")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def settle(environment: MutableMapping[str, str]) -> None:
    """Set what OpenMP reads, where the user has not."""
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    environment.setdefault("OMP_NUM_THREADS", str(physical_cores()))


def physical_cores(topology: Path = _TOPOLOGY, quota: Path = _QUOTA) -> int:
    """Cores this process may use: siblings count once, and a container's share of time is a limit."""
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    cores = {_siblings(topology, cpu) for cpu in usable}
    return max(1, min(len(cores), _share(quota)))


def _siblings(topology: Path, cpu: int) -> str:
    """The hyper-threads on the same core, as the kernel writes them; the number itself where it does not."""
    try:
        return (topology / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text().strip()
    except OSError:
        return str(cpu)


def _share(quota: Path) -> int:
    """The whole cores that a control group's quota (``200000 100000``: two) pays for."""
    try:
        allowed, period = quota.read_text().split()
        return math.ceil(int(allowed) / int(period))
    except (OSError, ValueError):  # no control group, or "max": no limit
        return os.cpu_count() or 1
