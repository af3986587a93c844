"""Demonstration on Number World, from handwritten digits to measured effects and a report.

The arms (:mod:`mm_kptm.suites.number_world.demo.arms`) are trained in single-threaded worker processes; results do not
depend on their number. An interrupted demonstration can be resumed.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mm_kptm import report
from mm_kptm.datasets.protocol import DataRequest, find_task_dataset
from mm_kptm.errors import UserError
from mm_kptm.experiment.comparison import Job, check_began
from mm_kptm.experiment.examples import write_examples
from mm_kptm.experiment.run import evaluated, train
from mm_kptm.experiment.worker_pool import outcomes
from mm_kptm.report.demonstration import Demonstration
from mm_kptm.suites.number_world.demo import claims as findings
from mm_kptm.suites.number_world.demo.arms import (
    INJECTED_BY_SPLIT,
    START,
    SWAPPED_SPLIT,
    TEXTS,
    TIERS,
    Tier,
    experiments,
)
from mm_kptm.systems.discovery import find
from mm_kptm.tasks.metrics.similarity import centred
from mm_kptm.tasks.protocol import write_predictions
from mm_kptm.tasks.text.sentence_retrieval import ParallelSentences

MOST_WORKERS = 8  # each takes about a gigabyte for torch and the data

Say = Callable[[str], None]


def demo(
    tier: str, out: Path, *, seeds: int | None = None, workers: int | None = None, say: Say | None = None
) -> Demonstration:
    """Train and evaluate every arm of a tier, and write ``arms.json`` and ``report.html`` to ``out``.

    Args:
        tier: one of :data:`~mm_kptm.suites.number_world.demo.arms.TIERS`.
        out: output folder; an interrupted demonstration of the same tier there is resumed.
        seeds: runs per arm, with seeds from 0; default: that of the tier.
        workers: parallel processes; default: the number of cores.
        say: callback for progress lines; default: print to standard error.

    Raises:
        UserError: there is no such tier, less than one seed, or ``out`` holds other runs.
    """
    if tier not in TIERS:
        raise UserError(f"there is no tier {tier!r}; the tiers are {', '.join(TIERS)}")
    chosen = TIERS[tier] if seeds is None else replace(TIERS[tier], seeds=seeds)
    if chosen.seeds < 1:
        raise UserError(f"{seeds} seeds were asked for; at least 1 is needed")
    workers = min(MOST_WORKERS, _cores()) if workers is None else workers
    say = _to_stderr if say is None else say
    of_seed = [experiments(chosen, seed, out) for seed in range(chosen.seeds)]
    jobs = {arm: [Job(of_arm[arm], _splits(arm)) for of_arm in of_seed] for arm in of_seed[0]}
    every = [job for of_arm in jobs.values() for job in of_arm]
    for job in every:
        check_began(job)
    say(f"{tier} tier: {len(jobs)} arms, {len(every)} runs, {workers} at a time")
    first = (START, "vqa-shuffled")
    later = sorted((arm for arm in jobs if arm not in first), key=lambda arm: arm in TEXTS)  # the longest start first
    starts, others = ([job for arm in arms for job in jobs[arm] if not job.done] for arms in (first, later))
    left = [*starts, *others]
    for index, outcome in outcomes(run, left, workers=workers, first=len(starts)):
        say(f"{left[index].settings.name}: {outcome}")
    return _found(chosen, jobs, out)


def _splits(arm: str) -> tuple[str, ...]:
    if arm == "facts-worlds":
        return (SWAPPED_SPLIT, *INJECTED_BY_SPLIT)
    return ("test", SWAPPED_SPLIT) if arm == "facts-fixed" else ("test",)


def _found(tier: Tier, jobs: Mapping[str, Sequence[Job]], out: Path) -> Demonstration:
    runs = {arm: tuple(report.read_run(job.folder) for job in of_arm) for arm, of_arm in jobs.items()}
    names = {arm: tuple(job.folder.name for job in of_arm) for arm, of_arm in jobs.items()}
    comparison = report.Comparison(
        title="Number World: does it look, does it read the facts, does it find translations?",
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
    """Train (or resume) and evaluate an arm; returns its accuracies and duration in words."""
    began = time.monotonic()
    settings, folder = job.settings, job.folder
    try:
        built = train(settings, folder, resume=True, progress=False)
        if settings.task is None:
            task = ParallelSentences(built.system, likeness=centred)
            prepared = find_task_dataset(task.name, settings.data).prepare(
                settings.data, DataRequest(find(settings.encoder.recipe))
            )
            rows = task.predictions(prepared.sources["test"]())
            write_predictions(rows, folder / "predictions" / "test.jsonl")
            write_examples(folder, settings, replace(built, model=task, prepared=prepared), "test", rows)
            outcome = f"translations found {sum(float(row['correct']) for row in rows) / len(rows):.3f}"
        else:
            measured = [(split, evaluated(folder, settings, built, split)) for split in job.splits]
            outcome = ", ".join(f"{split} {metrics['accuracy']:.3f}" for split, metrics in measured)
    except UserError as mistake:
        raise UserError(f"{settings.name}: {mistake}") from None
    return f"{outcome} ({time.monotonic() - began:.0f} s)"


def _cores() -> int:
    """Number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
