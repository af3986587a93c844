"""The verb doctor: diagnosis of the installation and the machine."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from importlib import import_module, metadata

from mm_kptm.cli import threads
from mm_kptm.cli.output import add_json, only_json, print_json, print_pairs

PACKAGES = (
    "torch", "torchvision", "timm", "open-clip-torch", "pykeen", "networkx", "accelerate", "safetensors", "tokenizers",
    "pydantic", "PyYAML", "Jinja2", "scikit-learn", "threadpoolctl", "numpy", "scipy", "Pillow", "tqdm", "tensorboard",
    "huggingface-hub", "h5py", "lmdb",
    "num2words", "ftfy", "pyarrow", "regex", "sacrebleu", "shtab", "typing-extensions",
)  # fmt: skip
OPTIONAL = {
    "pyoxigraph": "files of RDF",
    "wandb": "train.trackers: wandb",
    "mlflow-skinny": "train.trackers: mlflow",
    "optuna": "mm-kptm sweep",
    "starlette": "the page of picture search",
    "uvicorn": "the page of picture search",
    "faiss-cpu": "approximate picture search",
    "transformers": "the reference of tests and benchmarks",
    "pytest": "the tests",
}
# Compiled against torch: a version mismatch shows only on import.
MATCHED = ("torchvision.ops", "timm", "open_clip", "pykeen.models")


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the parser."""
    doctor = verbs.add_parser("doctor", help="versions, devices, threads, and what is missing")
    doctor.description = "Look at this machine and installation; exit code 1 when something needed does not work."
    add_json(doctor)
    doctor.set_defaults(run=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    with only_json(options.json):
        report = examine()
    if options.json:
        print_json(report)
    else:
        print_pairs(report)
        print("\n" + ("something is wrong: see problems" if report["problems"] else "everything needed is here"))
    return 1 if report["problems"] else 0


def examine() -> dict[str, object]:
    """Collect versions and devices, and a list of problems in words."""
    versions = {name: _version(name) for name in PACKAGES}
    problems = [f"{name} is not installed" for name, version in versions.items() if version is None]
    problems += [complaint for module in MATCHED if (complaint := _complaint(module))]
    return {
        "mm-kptm": import_module("mm_kptm").__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": versions,
        "devices": _devices(),
        "threads": {
            "physical cores": threads.physical_cores(),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
            "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY"),
        },
        "optional": {name: _version(name) or f"missing: needed for {use}" for name, use in OPTIONAL.items()},
        "problems": problems,
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _complaint(module: str) -> str:
    try:
        import_module(module)
    except Exception as error:  # mismatched versions fail with RuntimeError, OSError, AttributeError ...
        return f"{module} does not load ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
    return ""


def _devices() -> dict[str, object]:
    if "torch" not in sys.modules and _complaint("torch"):
        return {}
    import torch

    devices: dict[str, object] = {"cpu": f"{torch.get_num_threads()} threads"}
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        devices[f"cuda:{index}"] = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    if torch.backends.mps.is_available():
        devices["mps"] = "Apple GPU"
    return devices
