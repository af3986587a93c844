"""What a run was made with: versions, machine, threads and command, for whoever must repeat it."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from mm_kptm.io.atomic import write_json

ENVIRONMENT = "environment.json"
PACKAGES = ("mm-kptm", "torchvision", "numpy", "accelerate", "safetensors", "tokenizers", "scikit-learn")


def environment(*, device: torch.device, processes: int, parallel: str, seed: int) -> dict[str, object]:
    """The facts that a result may depend on; no variable of the shell and no path of a package among them."""
    return {
        "python": platform.python_version(),
        "packages": {"torch": torch.__version__}  # with its build, which the metadata leave out
        | {name: found for name in PACKAGES if (found := _version(name)) is not None},
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
    """Write ``environment.json``; a resumed run keeps what it began with and adds what it goes on with."""
    file = run / ENVIRONMENT
    if resumed_at is not None and file.is_file():
        began: dict[str, object] = json.loads(file.read_text(encoding="utf-8"))
        earlier = began.get("resumed", [])
        resumed = [*(earlier if isinstance(earlier, list) else []), {"step": resumed_at, **facts}]
        facts = {**began, "resumed": resumed}
    write_json(file, facts, indent=2, ascii_only=True)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:  # a source tree that was never installed
        return None


def _commit() -> str | None:
    """The commit of the folder the run was started in, marked when files differ from it; none outside git."""
    try:
        asked = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True, text=True, timeout=5, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return asked.stdout.strip() or None
