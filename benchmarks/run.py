"""Run cases: ``python -m benchmarks.run [case ...] [--rounds 9] [--threads 1] [--record]``.

Set ``OMP_NUM_THREADS`` before (``make bench`` does). A case that is not equal to its peer reports no time and fails
the run; with ``--record`` so does a ratio below the floor that the history of this kind of machine sets, confirmed
by a second run.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch

import benchmarks.cases
from benchmarks import history
from benchmarks.counts.flops import counted
from benchmarks.counts.memory import peak_bytes
from benchmarks.harness import OURS, PEER, Case, Unequal, measure
from benchmarks.machine import commit, load, machine, machine_key, now
from benchmarks.report import line


def modules() -> dict[str, ModuleType]:
    """Every case file by its short name."""
    names = sorted(info.name for info in pkgutil.iter_modules(benchmarks.cases.__path__))
    return {name.split("_")[0]: importlib.import_module(f"benchmarks.cases.{name}") for name in names}


def cases(module: ModuleType, seed: int = 0) -> tuple[Case, ...]:
    """The cases of one file: a forward one may come with a training one on the same inputs."""
    built: Case | tuple[Case, ...] = module.build(seed)
    return (built,) if isinstance(built, Case) else built


def run(case: Case, module: ModuleType, *, rounds: int, threads: int) -> dict[str, Any]:
    """Parity, counts, times: the record of one case.

    Raises:
        Unequal: the variants do not do the same work.
    """
    differences = case.check()
    flops = {name: counted(variant) for name, variant in case.variants.items()}
    described = machine()
    name, dirty = commit()
    before = load()
    timing = measure(case, rounds=rounds, threads=threads)
    ratios = {variant: timing.ratio(variant) for variant in case.variants if variant != PEER}
    return {
        "case": case.name,
        "title": case.title,
        "protocol_hash": history.protocol_hash(case, module),
        "sizes": dict(case.sizes),
        "commit": name,
        "dirty": dirty,
        "utc": now(),
        "machine_key": machine_key(described),
        **described,
        "peer_versions": module.VERSIONS,
        "threads": threads,
        "clock": timing.clock,
        "rounds": rounds,
        "load_before": before,
        "load_after": load(),
        "seconds": {variant: round(timing.median(variant), 6) for variant in case.variants},
        "ratios": {
            variant: {"median": round(r.median, 3), "low": round(r.low, 3), "high": round(r.high, 3)}
            for variant, r in ratios.items()
        },
        "noisy": ratios[OURS].noisy,
        "unit": case.unit,
        "work_per_s": round(case.work / timing.median(OURS), 1),
        "differences": differences,
        "peak_bytes": {name: peak_bytes(variant) for name, variant in case.variants.items()},
        "gflop": {variant: round(count / 1e9, 3) for variant, count in flops.items()},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0, or 1 when a case is not equal to its peer or fell below its floor."""
    known = modules()
    parser = argparse.ArgumentParser(prog="benchmarks.run", description="time cases against their peers")
    parser.add_argument("cases", nargs="*", metavar="case", help=f"one of {', '.join(known)}; all when left out")
    parser.add_argument("--rounds", type=int, default=9, help="timed rounds (default 9)")
    parser.add_argument("--threads", type=int, default=1, help="1: CPU seconds; more: seconds on the wall")
    parser.add_argument("--record", action="store_true", help="append to the history and hold against its floor")
    chosen = parser.parse_args(arguments)
    for name in chosen.cases:
        if name not in known:
            parser.error(f"no case is called {name!r}; there are {', '.join(known)}")
    torch.set_num_threads(chosen.threads)
    failed = False
    for name in chosen.cases or known:
        for case in cases(known[name]):
            try:
                record = run(case, known[name], rounds=chosen.rounds, threads=chosen.threads)
                print(line(record, history.goals()), flush=True)
                if chosen.record:
                    failed |= not _keep(record, case, known[name], chosen)
            except Unequal as unequal:
                print(f"{case.name}: no time, {unequal}", flush=True)
                failed = True
    return int(failed)


def _keep(record: dict[str, Any], case: Case, module: ModuleType, chosen: argparse.Namespace) -> bool:
    """Append a record; whether it reached its floor, now or in a second run."""
    floor = history.floor(record, history.read())
    print(f"  recorded in {history.append(record).name}")
    if floor is None or record["noisy"] or record["ratios"][OURS]["median"] >= floor:
        return True
    again = run(case, module, rounds=chosen.rounds, threads=chosen.threads)
    history.append(again)
    reached = again["ratios"][OURS]["median"]
    if reached < floor:
        print(f"  fell to x{reached:.2f}, below the floor of x{floor:.2f}")
    return reached >= floor


if __name__ == "__main__":
    sys.exit(main())
