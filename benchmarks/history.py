"""Records of past runs, one line each, in one file per kind of machine; and what they ask of a new one."""

from __future__ import annotations

import hashlib
import json
import statistics
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import benchmarks.texts
from benchmarks.harness import OURS, Case

HOME = Path(__file__).resolve().parent
FOLDER = HOME / "history"
#: Of the usual ratio of the last quiet records, what a new one must at least reach.
FLOOR, LAST = 0.8, 5


def goals() -> dict[str, dict[str, Any]]:
    """``goals.toml``: per case the bar that is asserted of a release and the goal that is aimed at."""
    return tomllib.loads((HOME / "goals.toml").read_text(encoding="utf-8"))


def protocol_hash(case: Case, module: ModuleType) -> str:
    """A name for exactly this protocol: sizes, and the source of the case and of its texts."""
    digest = hashlib.sha256(json.dumps(case.sizes, sort_keys=True).encode())
    for source in (module, benchmarks.texts):
        digest.update(Path(str(source.__file__)).read_bytes())
    return digest.hexdigest()[:12]


def append(record: Mapping[str, Any], folder: Path = FOLDER) -> Path:
    """Add one record to the history of its kind of machine."""
    folder.mkdir(exist_ok=True)
    file = folder / f"{record['machine_key']}.jsonl"
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(record, sort_keys=True) + "\n")
    return file


def read(folder: Path = FOLDER) -> list[dict[str, Any]]:
    """Every record, machine by machine, oldest first."""
    return [
        json.loads(line) for file in sorted(folder.glob("*.jsonl")) for line in file.read_text("utf-8").splitlines()
    ]


def alike(record: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The quiet records that a new one may be compared with."""
    keys = ("case", "machine_key", "protocol_hash", "threads")
    return [old for old in records if not old["noisy"] and all(old[key] == record[key] for key in keys)]


def floor(record: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> float | None:
    """The ratio below which a record is a regression; None when nothing quiet was recorded before."""
    past = [old["ratios"][OURS]["median"] for old in alike(record, records)][-LAST:]
    return FLOOR * statistics.median(past) if past else None
