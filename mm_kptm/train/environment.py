"""Environment record of a run: versions, machine, threads and command, for reproduction."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from mm_kptm.io.atomic import write_json
from mm_kptm.io.records import Record, read_json

ENVIRONMENT = "environment.json"
PACKAGES = ("mm-kptm", "torchvision", "numpy", "accelerate", "safetensors", "tokenizers", "scikit-learn")


def environment(*, device: torch.device, processes: int, parallel: str, seed: int) -> dict[str, object]:
    """Collect what a result may depend on; contains no shell variables and no package paths."""
    return {
        "python": platform.python_version(),
        "packages": {"torch": torch.__version__}  # with its build tag, which the metadata lack
        | {name: version for name in PACKAGES if (version := _version(name)) is not None},
        "system": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processes": processes,
        "parallel": parallel,
        "threads": torch.get_num_threads(),
        "seed": seed,
        "commit": _commit(),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }


def write_environment(run: Path, facts: dict[str, object], *, resumed_at: int | None) -> None:
    """Write ``environment.json``; a resumed run keeps the original record and appends the new one."""
    file = run / ENVIRONMENT
    if resumed_at is not None and file.is_file():
        began = Record.of(read_json(file), str(file)).values
        earlier = began.get("resumed", [])
        resumed = [*(earlier if isinstance(earlier, list) else []), {"step": resumed_at, **facts}]
        facts = {**began, "resumed": resumed}
    write_json(file, facts, indent=2, ascii_only=True)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:  # an uninstalled source tree
        return None


def _commit() -> str | None:
    """Git commit of the working directory, marked if it is dirty; None outside a repository."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True, text=True, timeout=5, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return described.stdout.strip() or None
