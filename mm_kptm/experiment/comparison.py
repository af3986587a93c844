"""Comparison of arms: equal budgets, several seeds, paired statistics over the same test examples.

The folder of a comparison holds ``arms.json``, ``report.html`` and one run folder per arm and seed. Finished runs are
not repeated; interrupted ones resume from their last checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from mm_kptm import config, report
from mm_kptm.errors import UserError
from mm_kptm.experiment.budget import Budget, check_equal, check_same_examples, differences, glance
from mm_kptm.experiment.build import build
from mm_kptm.experiment.defaults import with_defaults
from mm_kptm.experiment.null_arms import ExperimentArm, arms_of
from mm_kptm.experiment.run import evaluated, train
from mm_kptm.experiment.run_state import CONFIG, is_begun
from mm_kptm.experiment.settings import Experiment
from mm_kptm.experiment.worker_pool import WorkerDied, outcomes
from mm_kptm.io.atomic import sweep
from mm_kptm.io.lock import locked
from mm_kptm.report import arms as reported
from mm_kptm.report.factorial import check_design, effects_table
from mm_kptm.report.languages import by_language
from mm_kptm.report.tables import counted
from mm_kptm.report.uses import uses

SAVES = 10  #: checkpoints per run, so that little is lost when it is killed
RESAMPLING = 0  #: seed of the bootstrap, so that intervals are reproducible

Say = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """Run of one arm with one seed, and the splits to predict."""

    settings: Experiment
    splits: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Run folder."""
        return self.settings.folder

    @property
    def done(self) -> bool:
        """Whether the predictions of all splits exist."""
        return all((self.folder / "predictions" / f"{split}.jsonl").is_file() for split in self.splits)


@dataclass(frozen=True)
class Compared:
    """Result of a comparison and the path of its report."""

    comparison: report.Comparison
    report: Path
    missing: Mapping[str, str] = field(default_factory=dict)  #: why a run failed, by its name; its arm is in no table

    def __str__(self) -> str:
        """Tables as text."""
        return report.comparison_text(self.comparison)


def compare(
    experiments: Sequence[Experiment],
    out: Path,
    *,
    seeds: int = 5,
    workers: int = 2,
    splits: Sequence[str] = ("test",),
    nulls: bool = True,
    unequal: bool = False,
    say: Say = lambda line: None,
) -> Compared:
    """Train and evaluate arms and compare each with the first one.

    Args:
        experiments: the arms; the seed of each is the first of ``seeds`` consecutive ones.
        out: folder of the comparison; an unfinished comparison there is resumed.
        seeds: runs per arm.
        workers: parallel processes of one thread each; results do not depend on their number.
        splits: splits to predict.
        nulls: add null arms (:mod:`mm_kptm.experiment.null_arms`).
        unequal: allow different budgets, which are then printed.
        say: callback for progress lines: the plan, then one line per finished run.

    Raises:
        UserError: an experiment cannot be built, the arms differ in budget or examples, or ``out`` holds other runs.
    """
    if seeds < 1:
        raise UserError(f"{seeds} seeds were asked for; at least 1 is needed")
    arms = arms_of([with_defaults(settings) for settings in experiments], nulls=nulls)
    check_design({arm.name: arm.settings.factors for arm in arms if not arm.null})
    budgets = _examined([arm for arm in arms if not arm.null], splits)
    if not unequal:
        check_equal(budgets)
    longest = max(budget.steps for budget in budgets.values())
    jobs = {arm.name: [_job(arm, seed, out, splits, longest) for seed in range(seeds)] for arm in arms}
    listed = [
        job for of_seed in zip(*jobs.values(), strict=True) for job in of_seed
    ]  # seed by seed: all arms with the first seed, then with the second
    for job in listed:
        check_began(job)
    with locked(out, "folder of a comparison"):
        sweep(out)
        failed = _run([job for job in listed if not job.done], _plan(arms, seeds, listed, budgets), workers, say)
        whole = tuple(arm for arm in arms if not any(job.settings.name in failed for job in jobs[arm.name]))
        if failed and (not whole or whole[0] is not arms[0]):
            raise UserError(
                f"the reference arm {arms[0].name} is missing, so there is nothing to compare with; the other runs are "
                f"kept and are not repeated ({_failures(failed)})"
            )
        arms, jobs = whole, {arm.name: jobs[arm.name] for arm in whole}
        runs = {name: tuple(report.read_run(job.folder) for job in of_arm) for name, of_arm in jobs.items()}
        _check_answers(runs, splits)
        comparison = report.Comparison(
            title=" / ".join(settings.name for settings in experiments),
            tier="",
            seeds=seeds,
            tables=tuple(_tables(arms, runs, splits, " ".join(filter(None, (_spent(budgets), _missing(failed)))))),
            runs=tuple(job.folder.name for job in listed if job.settings.name not in failed),
            arms={name: tuple(job.folder.name for job in of_arm) for name, of_arm in jobs.items()},
        )
        report.write_comparison(out, comparison)
        return Compared(comparison, report.write([out]), failed)


def _examined(arms: Sequence[ExperimentArm], splits: Sequence[str]) -> dict[str, Budget]:
    """Budgets of the arms, built but untrained; refuses arms with different test examples."""
    budgets = {}
    asked: dict[str, dict[str, dict[str, tuple[object, ...]]]] = {split: {} for split in splits}
    for arm in arms:
        built = build(arm.settings)
        budgets[arm.name] = Budget.of(arm.settings, built)
        for split in splits:
            rows = glance(built, split)
            asked[split][arm.name] = {
                str(row["id"]): tuple(row.get(key, "") for key in ("type", "language", "group", "target"))
                for row in rows
            }
    for split, of_arms in asked.items():
        check_same_examples(split, of_arms)
    return budgets


def _job(arm: ExperimentArm, seed: int, out: Path, splits: Sequence[str], longest: int) -> Job:
    """Job of an arm with its ``seed``-th seed; a run in epochs saves checkpoints like one of ``longest`` steps."""
    ours = arm.settings.train
    own = ours.seed + seed
    saves = ours.save_every or max(1, (longest if ours.steps is None else ours.steps) // SAVES)
    trained = replace(ours, seed=own, save_every=saves, keep_last=1)
    return Job(replace(arm.settings, name=f"{arm.name}-seed-{own}", out=out, train=trained), tuple(splits))


def check_began(job: Job) -> None:
    """Refuse a folder with a run of different settings; ``UserError`` names the first key that differs."""
    path = job.folder / CONFIG
    if not path.is_file():
        if is_begun(job.folder):
            raise UserError(f"{job.folder} is no run of this comparison: it has no {CONFIG}; name another --out")
        return
    ours, theirs = config.leaves(job.settings), config.leaves(config.read(Experiment, path))
    for key in sorted(ours.keys() | theirs.keys()):
        if key != "out" and ours.get(key) != theirs.get(key):  # the folder of a comparison may have been moved
            raise UserError(
                f"{job.folder} began with {key} {theirs.get(key)!r}, not {ours.get(key)!r}; name another --out, or "
                "remove that run to have it again"
            )


def _plan(arms: Sequence[ExperimentArm], seeds: int, jobs: Sequence[Job], budgets: Mapping[str, Budget]) -> str:
    """Plan of the runs, in words."""
    null = sum(arm.null for arm in arms)
    kinds = [counted(len(arms) - null, "arm"), *([counted(null, "null arm")] if null else [])]
    done = sum(job.done for job in jobs)
    left = f", {done} of them done" if done else ""
    return f"{' and '.join(kinds)} with {counted(seeds, 'seed')}: {counted(len(jobs), 'run')}{left}. {_spent(budgets)}"


def _spent(budgets: Mapping[str, Budget]) -> str:
    found = differences(budgets)
    if found:
        return f"Budgets differ in {'; '.join(found)}."
    return f"Every run: {next(iter(budgets.values())).text()}."


def _run(jobs: Sequence[Job], plan: str, workers: int, say: Say) -> dict[str, str]:
    """Train and evaluate the jobs; those that fail do not end the others, and are returned with their reasons."""
    say(plan)
    began, failed = time.monotonic(), dict[str, str]()
    for number, (index, outcome) in enumerate(_outcomes(jobs, workers, say), 1):
        if outcome.failed:
            failed[jobs[index].settings.name] = outcome.text
        left = len(jobs) - number
        seconds = (time.monotonic() - began) / number * left
        still = f", about {seconds:.0f} s left" if left else ""
        say(f"{number} of {len(jobs)}: {jobs[index].settings.name}, {outcome.text}{still}")
    return failed


def _outcomes(jobs: Sequence[Job], workers: int, say: Say) -> Iterator[tuple[int, Outcome]]:
    """Outcomes of jobs; once a worker was killed, the jobs that are left go on one at a time."""
    left = dict(enumerate(jobs))
    try:
        for index, outcome in outcomes(attempt, jobs, workers=workers):
            del left[index]
            yield index, outcome
    except WorkerDied:
        say("a worker process died without a word, as it does when memory runs out; what is left goes on one at a time")
        for index, job in left.items():
            try:
                ((_, outcome),) = outcomes(attempt, [job], workers=1)
            except WorkerDied:
                outcome = Outcome("failed: its process died without a word, as it does when memory runs out", True)
            yield index, outcome


@dataclass(frozen=True)
class Outcome:
    """What became of a job, in words."""

    text: str
    failed: bool = False


def attempt(job: Job) -> Outcome:
    """As :func:`run`; a wrong setting or a full disk is an outcome, too."""
    try:
        return Outcome(run(job))
    except UserError as error:
        return Outcome(f"failed: {str(error).removeprefix(f'{job.settings.name}: ')}", failed=True)


def _missing(failed: Mapping[str, str]) -> str:
    return f"Missing, with the other seeds of their arms: {_failures(failed)}." if failed else ""


def _failures(failed: Mapping[str, str]) -> str:
    return "; ".join(f"{name} {why}" for name, why in failed.items())


def run(job: Job) -> str:
    """Train (or resume) and evaluate a job; returns its accuracies and duration in words."""
    began = time.monotonic()
    try:
        built = train(job.settings, job.folder, resume=True, progress=False)
        measured = [
            f"{split} {evaluated(job.folder, job.settings, built, split)['accuracy']:.3f}" for split in job.splits
        ]
    except UserError as mistake:
        raise UserError(f"{job.settings.name}: {mistake}") from None
    return f"{', '.join(measured)} ({time.monotonic() - began:.0f} s)"


def _check_answers(runs: Mapping[str, Sequence[report.Run]], splits: Sequence[str]) -> None:
    """Refuse runs that predicted different examples: paired statistics need the same ones."""
    for split in splits:
        asked = {
            one.name: {p.id: (p.type, p.language, p.group, p.target) for p in one.predictions[split]}
            for of_arm in runs.values()
            for one in of_arm
        }
        check_same_examples(split, asked)


def _tables(
    arms: Sequence[ExperimentArm], runs: Mapping[str, tuple[report.Run, ...]], splits: Sequence[str], spent: str
) -> Iterator[report.Table]:
    """Tables by split: accuracy with baselines, knowledge use, and differences from the first arm."""
    generator = np.random.default_rng(RESAMPLING)
    # the facts-only baseline of a null arm is no baseline of the others
    found = [
        reported.ReportedArm(
            arm.name, tuple(replace(one, baselines={}) for one in runs[arm.name]) if arm.null else runs[arm.name]
        )
        for arm in arms
    ]
    contrasts = reported.contrasts(found, generator) if len(found) > 1 else []
    for split in splits:
        accuracy = reported.headline(found, split, generator)
        yield replace(accuracy, note=f"{accuracy.note} {spent}")
        if (used := uses(found, split, generator)) is not None:
            yield used
        rows = tuple(
            report.Row(f"{c.arm} over {c.reference}", "difference", c.gap.value, c.gap.low, c.gap.high, c.gap.n, p=c.p)
            for c in contrasts
            if c.split == split
        )
        if rows:
            yield report.Table(
                f"Split {split}, paired differences",
                rows,
                f"On the same examples, by bootstrap over {counted(contrasts[0].gap.groups, 'group')}; p by "
                f"permutation of groups, corrected after Holm for {counted(len(contrasts), 'difference')}.",
            )
        factors = {arm.name: {} if arm.null else arm.settings.factors for arm in arms}
        if (crossed := effects_table(found, factors, split, generator)) is not None:
            yield crossed
        sources = {arm.name: arm.settings.transfer.source for arm in arms if arm.settings.transfer is not None}
        if (spoken := by_language(found, split, sources)) is not None:
            yield spoken
