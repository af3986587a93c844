"""The demonstration: Number World end to end, from handwritten digits to measured effects and a report.

The arms (:mod:`mm_kptm.suites.number_world.demo.arms`) are trained by worker processes of one thread each; what they
answer does not depend on how many there are. A demonstration that was stopped goes on where it stood.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mm_kptm import report
from mm_kptm.datasets.protocol import DataRequest, find_task_dataset
from mm_kptm.errors import UserError
from mm_kptm.experiment.comparison import Job, check_began
from mm_kptm.experiment.run import evaluated, train
from mm_kptm.experiment.worker_pool import outcomes
from mm_kptm.io.records import Json
from mm_kptm.suites.number_world.demo import claims as findings
from mm_kptm.suites.number_world.demo.arms import START, TEXTS, TIERS, TOLD_INSTEAD, TOLD_OTHERS, Tier, experiments
from mm_kptm.suites.number_world.demo.gallery import GALLERY, show
from mm_kptm.systems.discovery import find
from mm_kptm.tasks.metrics.similarity import centred
from mm_kptm.tasks.protocol import write_predictions
from mm_kptm.tasks.text.sentence_retrieval import ParallelSentences

SHOWN = {START: ("test", 8), "facts-worlds": (TOLD_OTHERS, 8), "facts-fixed": (TOLD_OTHERS, 4)}
MOST_WORKERS = 8  # each holds torch and its data, about a gigabyte

Say = Callable[[str], None]


@dataclass(frozen=True)
class Demonstration:
    """What was found, and the page about it."""

    comparison: report.Comparison
    report: Path

    def text(self) -> str:
        """The tables and claims, for a terminal."""
        return report.comparison_text(self.comparison)

    def plain(self) -> dict[str, Json]:
        """The same numbers for machines, as in ``arms.json``, and where the page is."""
        found = report.as_json(self.comparison)
        if not isinstance(found, dict):
            raise TypeError("a comparison is written as an object")
        return {**found, "report": str(self.report)}


def demo(
    tier: str, out: Path, *, seeds: int | None = None, workers: int | None = None, say: Say | None = None
) -> Demonstration:
    """Train every arm of a tier, measure it and write ``arms.json`` and ``report.html`` into ``out``.

    Args:
        tier: one of :data:`~mm_kptm.suites.number_world.demo.arms.TIERS`.
        out: the folder; a demonstration of the same tier that was stopped there goes on.
        seeds: runs of every arm, with the seeds from 0 on; as the tier has it unless given.
        workers: processes at a time; as many as there are cores unless given.
        say: is told of every arm that ends; standard error unless given.

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
    later = sorted((arm for arm in jobs if arm not in first), key=lambda arm: arm in TEXTS)  # the longest begin first
    starts, others = ([job for arm in arms for job in jobs[arm] if not job.done] for arms in (first, later))
    left = [*starts, *others]
    for place, told in outcomes(run, left, workers=workers, first=len(starts)):
        say(f"{left[place].settings.name}: {told}")
    return _found(chosen, jobs, out)


def _splits(arm: str) -> tuple[str, ...]:
    if arm == "facts-worlds":
        return (TOLD_OTHERS, *TOLD_INSTEAD)
    return ("test", TOLD_OTHERS) if arm == "facts-fixed" else ("test",)


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
    """Train an arm from where it stands, let it answer, and tell how it went."""
    began = time.monotonic()
    settings, folder = job.settings, job.folder
    arm = settings.name.rpartition("-seed-")[0]
    try:
        built = train(settings, folder, resume=True, progress=False)
        if arm in SHOWN and not (folder / GALLERY).is_file():
            show(settings, built, *SHOWN[arm], folder)
        if settings.task is None:
            task = ParallelSentences(built.system, likeness=centred)
            asked = find_task_dataset(task.name, settings.data).prepare(
                settings.data, DataRequest(find(settings.encoder.recipe))
            )
            rows = task.predictions(asked.sources["test"]())
            write_predictions(rows, folder / "predictions" / "test.jsonl")
            told = f"translations found {sum(float(row['correct']) for row in rows) / len(rows):.3f}"
        else:
            measured = [(split, evaluated(folder, settings, built, split)) for split in job.splits]
            told = ", ".join(f"{split} {found['accuracy']:.3f}" for split, found in measured)
    except UserError as mistake:
        raise UserError(f"{settings.name}: {mistake}") from None
    return f"{told} ({time.monotonic() - began:.0f} s)"


def _cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
