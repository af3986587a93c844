"""Runs from Python: the functions behind ``mm-kptm train``, ``evaluate`` and ``compare``.

They take an experiment as a file, a dict, a run folder or an :class:`~mm_kptm.experiment.settings.Experiment`, and are
public as ``mm_kptm.fit``, ``mm_kptm.evaluate`` and ``mm_kptm.compare``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeAlias, cast

from mm_kptm import config
from mm_kptm.errors import UserError
from mm_kptm.experiment import comparison
from mm_kptm.experiment import run as runs
from mm_kptm.experiment.locations import read_experiment
from mm_kptm.experiment.run_state import MODEL, config_of
from mm_kptm.experiment.settings import Experiment
from mm_kptm.experiment.start import check_start
from mm_kptm.report.runs import read_run
from mm_kptm.report.writing import write
from mm_kptm.systems.pretrained import load
from mm_kptm.systems.system import System
from mm_kptm.train.parallel.processes import process_group

ExperimentLike: TypeAlias = "Experiment | Mapping[str, object] | str | Path"


@dataclass(frozen=True)
class TrainedRun:
    """A run folder after training."""

    folder: Path
    settings: Experiment

    @cached_property
    def system(self) -> System:
        """The trained system, as ``mm_kptm.load(folder / "model")`` opens it."""
        return load(str(self.folder / MODEL))

    @property
    def scores(self) -> dict[str, dict[str, float]]:
        """The last measurements of every split that training logged, by name; of ``train`` the loss and its like."""
        return {measured.split: dict(measured.values) for measured in read_run(self.folder).measurements}

    def evaluate(self, split: str = "test", *, checkpoint: str | int = "last") -> dict[str, object]:
        """Evaluate a checkpoint of the run on a split, see :func:`evaluate`."""
        return evaluate(self, split, checkpoint=checkpoint)

    def report(self) -> Path:
        """Write ``report.html`` into the folder and return its path."""
        return write([self.folder])


def fit(
    experiment: ExperimentLike,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    **changes: object,
) -> TrainedRun:
    """Train an experiment into its run folder, ``out/name``.

    Args:
        experiment: a file, a dict with the keys of a file, a run folder, or the settings themselves.
        resume: whether to go on with the run that is there, exactly where it stopped, or to make a finished one longer.
        overwrite: whether to remove the run that is there.
        progress: whether to print progress on standard error.
        changes: settings that replace those of ``experiment``: ``name="other"``, ``train={"steps": 100}`` (merged
            into the block), or by dotted key ``**{"train.steps": 100}``.

    Raises:
        UserError: the experiment is of another type, settings are wrong, or the folder holds something else.
    """
    if resume and overwrite:
        raise UserError("resume and overwrite exclude each other; leave one out")
    with process_group():
        settings = settings_of(experiment, changes)
        given = Path(experiment) if isinstance(experiment, str | Path) else None
        folder = given if resume and given is not None and given.is_dir() else settings.folder
        check_start(settings, folder, resume=resume, overwrite=overwrite)
        runs.train(settings, folder, resume=resume, overwrite=overwrite, progress=progress)
    return TrainedRun(folder, settings)


def evaluate(run: TrainedRun | str | Path, split: str = "test", *, checkpoint: str | int = "last") -> dict[str, object]:
    """Evaluate a checkpoint of a run on a split, and write its predictions, see :func:`mm_kptm.experiment.evaluate`.

    Args:
        run: what :func:`fit` returned, or a run folder.
        split: which examples.
        checkpoint: ``last``, ``best`` by ``train.monitor``, or a step.

    Raises:
        UserError: this is no run folder, it has no such split or checkpoint, or its data have changed.
    """
    folder = _folder_of(run)
    with process_group():
        return runs.evaluate(folder, split, checkpoint=str(checkpoint))


def compare(
    experiments: ExperimentLike | Sequence[ExperimentLike],
    out: str | Path = "comparison",
    *,
    seeds: int = 5,
    workers: int = 2,
    splits: Sequence[str] = ("test",),
    nulls: bool = True,
    unequal: bool = False,
    progress: bool = True,
    **changes: object,
) -> comparison.Compared:
    """Train and evaluate experiments with several seeds and equal budgets; compare each with the first.

    Args:
        experiments: one or several, as :func:`fit` takes them.
        out: folder of the comparison; an unfinished comparison there is resumed.
        seeds: runs of every arm.
        workers: parallel processes of one thread each; results do not depend on their number.
        splits: splits to predict.
        nulls: whether to add null arms (:mod:`mm_kptm.experiment.null_arms`).
        unequal: whether to allow different budgets, which are then printed.
        progress: whether to print the plan and finished runs on standard error.
        changes: settings that replace those of all experiments, as of :func:`fit`.

    Returns:
        The comparison with its tables, and the path of its report; printing it prints the tables.

    Raises:
        UserError: an experiment is of another type or cannot be built, the arms differ in budget or examples, or
            ``out`` holds other runs.
    """
    single = isinstance(experiments, str) or not isinstance(experiments, Sequence)
    several = cast("Sequence[ExperimentLike]", [experiments] if single else experiments)
    return comparison.compare(
        [settings_of(one, changes) for one in several],
        Path(out),
        seeds=seeds,
        workers=workers,
        splits=tuple(splits),
        nulls=nulls,
        unequal=unequal,
        say=_to_stderr if progress else lambda line: None,
    )


def settings_of(experiment: ExperimentLike, changes: Mapping[str, object] | None = None) -> Experiment:
    """The settings that an experiment stands for, with changes by key.

    Raises:
        UserError: it is of another type, a key is unknown or missing, or a value has the wrong type.
    """
    if isinstance(experiment, Experiment):
        return config.of(Experiment, _plain(experiment), changes) if changes else experiment
    if isinstance(experiment, Mapping):
        return config.of(Experiment, experiment, changes)
    if isinstance(experiment, str | Path):
        path = Path(experiment)
        return config.of(Experiment, config_of(path), changes) if path.is_dir() else read_experiment(path, (), changes)
    raise UserError(
        "an experiment is a file, a dict of settings, a run folder or an Experiment, not a value of type "
        f"{type(experiment).__name__}"
    )


def _plain(settings: Experiment) -> Mapping[str, object]:
    plain = config.plain(settings)
    assert isinstance(plain, dict)  # a dataclass is one
    return plain


def _folder_of(run: TrainedRun | str | Path) -> Path:
    if isinstance(run, TrainedRun):
        return run.folder
    if isinstance(run, str | Path):
        return Path(run)
    raise UserError(f"a run is what fit returned, or a run folder, not a value of type {type(run).__name__}")


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
