"""Demonstration on Atlas: drawings and names in many languages, flags and facts, measured beside their controls.

The arms (:mod:`mm_kptm.suites.atlas.demo.arms`) are trained in single-threaded worker processes; an interrupted
demonstration can be resumed.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mm_kptm import report
from mm_kptm.errors import UserError
from mm_kptm.experiment.comparison import Job, check_began
from mm_kptm.experiment.run import evaluated, train
from mm_kptm.experiment.worker_pool import outcomes
from mm_kptm.report.demonstration import Demonstration
from mm_kptm.suites.atlas.datasets.settings import AtlasData
from mm_kptm.suites.atlas.demo import claims as findings
from mm_kptm.suites.atlas.demo.arms import NAMES, Tier, experiments, splits_of, tiers
from mm_kptm.suites.atlas.demo.gallery import write_drawings

MOST_WORKERS = 8  # each takes about a gigabyte

Say = Callable[[str], None]


def demo(
    tier: str, out: Path, *, seeds: int | None = None, workers: int | None = None, say: Say | None = None
) -> Demonstration:
    """Train and evaluate every arm of a tier, and write ``arms.json`` and ``report.html`` to ``out``.

    Args:
        tier: tiny, demo or paper.
        out: output folder; an interrupted demonstration of the same tier there is resumed.
        seeds: runs per arm, with seeds from 0; default: that of the tier.
        workers: parallel processes; default: the number of cores.
        say: callback for progress lines; default: print to standard error.

    Raises:
        UserError: there is no such tier, less than one seed, or ``out`` holds other runs.
    """
    listed = tiers()
    if tier not in listed:
        raise UserError(f"there is no tier {tier!r}; the tiers are {', '.join(listed)}")
    chosen = listed[tier] if seeds is None else replace(listed[tier], seeds=seeds)
    if chosen.seeds < 1:
        raise UserError(f"{seeds} seeds were asked for; at least 1 is needed")
    workers = min(MOST_WORKERS, _cores()) if workers is None else workers
    say = _to_stderr if say is None else say
    of_seed = [experiments(chosen, seed, out) for seed in range(chosen.seeds)]
    jobs = {arm: [Job(of_arm[arm], splits_of(arm)) for of_arm in of_seed] for arm in of_seed[0]}
    every = [job for of_arm in jobs.values() for job in of_arm]
    for job in every:
        check_began(job)
    say(f"{tier} tier of Atlas: {len(jobs)} arms, {len(every)} runs, {workers} at a time")
    left = [job for job in every if not job.done]
    for index, outcome in outcomes(run, left, workers=workers):
        say(f"{left[index].settings.name}: {outcome}")
    return collected(chosen, jobs, out)


def collected(tier: Tier, jobs: Mapping[str, Sequence[Job]], out: Path) -> Demonstration:
    """The tables, claims and report of runs that have ended."""
    runs = {arm: tuple(report.read_run(job.folder) for job in of_arm) for arm, of_arm in jobs.items()}
    names = {arm: tuple(job.folder.name for job in of_arm) for arm, of_arm in jobs.items()}
    comparison = report.Comparison(
        title="Atlas: does it name what it sees, in languages it was not shown, and does it read facts?",
        tier=tier.name,
        seeds=tier.seeds,
        tables=tuple(findings.tables(tier, runs)),
        claims=tuple(findings.claims(tier, runs)),
        runs=tuple(name for of_arm in names.values() for name in of_arm),
        arms=names,
    )
    report.write_comparison(out, comparison)
    return Demonstration(comparison, report.write([out]))


def run(job: Job) -> str:
    """Train (or resume) and evaluate an arm; returns its scores and duration in words."""
    began, spent = time.monotonic(), time.process_time()
    settings, folder = job.settings, job.folder
    try:
        built = train(settings, folder, resume=True, progress=False)
        measured = {split: evaluated(folder, settings, built, split) for split in job.splits}
        if isinstance(settings.data, AtlasData):
            for split in job.splits:
                write_drawings(folder, settings.data, split.removeprefix("test-"))
    except UserError as mistake:
        raise UserError(f"{settings.name}: {mistake}") from None
    key = "image-to-text-recall@1" if settings.name.startswith(NAMES) else "accuracy"
    outcome = ", ".join(f"{split} {metrics[key]:.3f}" for split, metrics in measured.items())
    return f"{outcome} ({time.monotonic() - began:.0f} s, {time.process_time() - spent:.0f} s of one core)"


def _cores() -> int:
    """Number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
