"""What a figure was measured on: enough to compare like with like, and nothing that names a machine or its owner."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

#: Instruction sets that decide how fast a matrix product is.
_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
_ROOT = Path(__file__).resolve().parent.parent


def machine() -> dict[str, Any]:
    """Processor, memory, accelerator and versions."""
    described = _proc("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", described)
    flags = re.search(r"flags\s*: (.+)", described)
    has_gpu = torch.cuda.is_available()
    return {
        "cpu": found.group(1) if found else platform.processor() or platform.machine(),
        "flags": [flag for flag in _FLAGS if flags and flag in flags.group(1).split()],
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "ram_gib": _ram_gib(),
        "gpu": torch.cuda.get_device_name() if has_gpu else None,
        "driver": torch.version.cuda if has_gpu else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def machine_key(described: dict[str, Any]) -> str:
    """One word for machines whose figures may be compared: processor, cores, class of memory, accelerator.

    >>> machine_key({"cpu": "Some CPU @ 2", "cores": 2, "ram_gib": 23, "gpu": None})
    'some-cpu-2-2c-16g'
    """
    memory = 1 << max(described["ram_gib"], 1).bit_length() - 1
    parts = [described["cpu"], f"{described['cores']}c", f"{memory}g", described["gpu"] or ""]
    return re.sub(r"[^a-z0-9]+", "-", " ".join(parts).lower()).strip("-")


def load() -> float | None:
    """How many processes want to run, over the last minute."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def now() -> str:
    """The time, to the second, in UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def commit() -> tuple[str, bool]:
    """The commit that is checked out, and whether the package or the benchmarks differ from it."""
    name = _git("rev-parse", "HEAD")
    return name, bool(_git("status", "--porcelain", "--", "mm_kptm", "benchmarks"))


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(_ROOT), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def _proc(path: str) -> str:
    file = Path(path)
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def _ram_gib() -> int:
    found = re.search(r"MemTotal:\s*(\d+) kB", _proc("/proc/meminfo"))
    return round(int(found.group(1)) / 2**20) if found else 0
