"""Hyper-parameter search: trials of one experiment, judged on its dev split alone.

A sweep is a folder with Optuna's ``study.db``, one run folder per trial, ``trials.json`` and ``best.yaml``. It goes on
where it was stopped, the trial that was running included. Trials never see the test split: it is taken out of the
settings where they name it, and opened nowhere.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from mm_kptm import config
from mm_kptm.data.sampler import seed_of
from mm_kptm.errors import UserError
from mm_kptm.experiment.locations import read_experiment
from mm_kptm.experiment.run import train
from mm_kptm.experiment.settings import Experiment
from mm_kptm.experiment.tuning.search_space import Choice, Space, Value, as_override, parse_space
from mm_kptm.io.atomic import write_json, write_text
from mm_kptm.io.lock import locked
from mm_kptm.train.log import METRICS
from mm_kptm.train.monitor import is_better, lower_is_better, measures_of

if TYPE_CHECKING:
    from optuna import Study
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

STUDY, TRIALS, BEST = "study.db", "trials.json", "best.yaml"
Sampler: TypeAlias = Literal["tpe", "random", "grid"]
SAMPLERS: tuple[Sampler, ...] = ("tpe", "random", "grid")


@dataclass(frozen=True)
class Trial:
    """One run of a sweep."""

    number: int
    value: float | None  #: best value of the monitored measure; None if it failed
    params: Mapping[str, Value]
    step: int | None = None  #: of that value
    error: str | None = None  #: why it failed


@dataclass(frozen=True)
class Sweep:
    """A finished sweep."""

    monitor: str
    trials: tuple[Trial, ...]  #: the best first, those that failed last
    best: Path  #: experiment file with the best values


def sweep(
    path: Path,
    out: Path,
    *,
    trials: int,
    over: Mapping[str, str | Sequence[Value]] | None = None,
    overrides: Sequence[str] = (),
    monitor: str | None = None,
    sampler: Sampler = "tpe",
    say: Callable[[str], None] = print,
) -> Sweep:
    """Search the values of some keys of an experiment that are best on its dev split.

    Args:
        path: experiment file.
        out: folder of the sweep; one that is there goes on.
        trials: how many in all, those that ended before included.
        over: values of each key, beside the block ``sweep`` of the file, as :func:`.parse_space` reads them.
        overrides: of the experiment file, as ``--a.b=c``.
        monitor: measure of the dev split to optimise; None: ``train.monitor``.
        sampler: ``tpe`` (Bergstra et al. 2011), ``random``, or ``grid`` for lists.
        say: prints a line of progress.

    Raises:
        UserError: a key is unknown, a value does not fit, nothing is measured on dev, every trial failed, the folder
            holds another sweep or one that another process runs, or the disk is full.
    """
    base = read_experiment(path, overrides)
    space = parse_space({**base.sweep, **(over or {})})
    monitor = _monitored(base, monitor)
    if trials < 1:
        raise UserError(f"--trials is {trials} but must be at least 1")
    if sampler == "grid":
        trials = min(trials, _grid_size(space))
    made = partial(_settings, path, tuple(overrides), monitor)
    for key, values in space.items():  # a misspelt key or a value that does not fit is said before any trial
        for value in values.ends:
            made({key: value}, 0, out)
    with locked(out, "folder of a sweep"), _database(out / STUDY):
        study = _study(out, base, space, monitor)
        for trial in [trial for trial in study.trials if not trial.state.is_finished()]:
            _go_on(study, trial, space, made, out, say)
        while (number := len(study.trials)) < trials:
            study.sampler = _sampler(sampler, base.train.seed, number, space)
            drawn = study.ask({key: values.distribution() for key, values in space.items()})
            _run(study, drawn.number, drawn.params, made, out, say)
        return _result(study, monitor, partial(_best, path, overrides, monitor), out)


@contextmanager
def _database(file: Path) -> Iterator[None]:
    """Context manager around code that uses a study; ``UserError`` where its file is damaged or cannot be written."""
    try:
        import sqlalchemy.exc
    except ImportError:  # Optuna is not installed, which is said where it is needed
        yield
        return
    try:
        yield
    except sqlalchemy.exc.SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).partition("\n")[0]
        raise UserError(
            f"{file} cannot be used as the study of a sweep ({reason}); free some space if the disk is full, or name "
            "another folder with --out"
        ) from error


def _monitored(base: Experiment, monitor: str | None) -> str:
    """The measure to optimise."""
    monitor = monitor or base.train.monitor
    if monitor is None:
        raise UserError("a sweep needs a measure to judge by; name it with --monitor, such as dev/accuracy")
    if not monitor.startswith("dev/"):
        raise UserError(
            f"a sweep is judged by {monitor}, but trials are measured on the split dev alone; choose a measure of it, "
            "such as dev/accuracy"
        )
    return monitor


def _settings(
    path: Path, overrides: Sequence[str], monitor: str, params: Mapping[str, Value], number: int, out: Path
) -> Experiment:
    """Settings of a trial, which know no test split."""
    given = [as_override(key, value) for key, value in params.items()]
    read = read_experiment(path, [*overrides, *given])
    hidden = {
        field.name: None for field in fields(read.data) if field.name.split("_")[0] == "test" and field.default is None
    }
    return replace(
        read,
        name=_name(number),
        out=out,
        sweep={},
        data=replace(read.data, **hidden),
        train=replace(read.train, monitor=monitor),
    )


def _best(path: Path, overrides: Sequence[str], monitor: str, params: Mapping[str, Value]) -> Experiment:
    given = [as_override(key, value) for key, value in params.items()]
    read = read_experiment(path, [*overrides, *given])
    return replace(read, name=f"{read.name}-best", sweep={}, train=replace(read.train, monitor=monitor))


def _name(number: int) -> str:
    return f"trial-{number:03d}"


def _study(out: Path, base: Experiment, space: Space, monitor: str) -> Study:
    """Open the study of the folder, or begin one.

    Raises:
        UserError: Optuna is not installed, or the folder holds another sweep.
    """
    try:
        import optuna
    except ImportError:
        raise UserError("a sweep needs Optuna, which is not installed; pip install 'mm-kptm[sweep]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    asked = {
        "experiment": config.dump(replace(base, sweep={})),
        "space": {key: str(values) for key, values in space.items()},
        "monitor": monitor,
    }
    direction: Literal["minimize", "maximize"] = "minimize" if lower_is_better(monitor) else "maximize"
    study = optuna.create_study(
        storage=f"sqlite:///{(out / STUDY).resolve()}", study_name="sweep", direction=direction, load_if_exists=True
    )
    for what, value in asked.items():
        if study.user_attrs.get(what, value) != value:
            raise UserError(
                f"{out} holds a sweep with another {what}; name another folder with --out, or go on as that one began"
            )
        study.set_user_attr(what, value)
    return study


def _sampler(sampler: Sampler, seed: int, number: int, space: Space) -> BaseSampler:
    """Sampler of one trial; seeded by its number, so that a sweep that was stopped draws what an unbroken one does."""
    from optuna.exceptions import ExperimentalWarning
    from optuna.samplers import PartialFixedSampler, RandomSampler, TPESampler

    drawn = seed_of(seed, number) % 2**32
    if sampler == "tpe":
        return TPESampler(seed=drawn)
    if sampler == "random":
        return RandomSampler(seed=drawn)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return PartialFixedSampler(_grid_point(space, number), RandomSampler(seed=drawn))


def _go_on(
    study: Study,
    trial: FrozenTrial,
    space: Space,
    made: Callable[[Mapping[str, Value], int, Path], Experiment],
    out: Path,
    say: Callable[[str], None],
) -> None:
    """Go on with a trial during which the sweep was stopped."""
    from optuna.trial import TrialState

    if trial.params.keys() == space.keys():
        _run(study, trial.number, trial.params, made, out, say)
    else:  # stopped while its values were drawn
        study.tell(trial.number, state=TrialState.FAIL)


def _run(
    study: Study,
    number: int,
    params: Mapping[str, Value],
    made: Callable[[Mapping[str, Value], int, Path], Experiment],
    out: Path,
    say: Callable[[str], None],
) -> None:
    """Run one trial and record its value, or why it has none."""
    from optuna.trial import TrialState

    drawn = ", ".join(f"{key} {_shown(value)}" for key, value in params.items())
    folder = out / _name(number)
    try:
        settings = made(params, number, out)
        train(settings, folder, resume=True, progress=False)
        value, step = _value(folder, settings)
    except Exception as error:  # whatever values of the space lead to, such as a lack of memory: others may do
        if isinstance(error.__cause__, OSError):  # a full disk is no fault of the values; the trial goes on later
            raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        study.set_user_attr(_about(number), {"error": reason})
        study.tell(number, state=TrialState.FAIL)
        say(f"trial {number}: {drawn}: failed: {reason}")
        return
    study.set_user_attr(_about(number), {"step": step})
    study.tell(number, value)
    say(f"trial {number}: {drawn}: {settings.train.monitor} {value:.4g}")


def _about(number: int) -> str:
    """Name under which a study keeps what Optuna does not know of a trial."""
    return f"about trial {number}"


def _value(folder: Path, settings: Experiment) -> tuple[float, int]:
    """Best value of the monitored measure and its step."""
    best: tuple[float, int] | None = None
    for step, value in measures_of(folder / METRICS, settings.train.monitor or ""):
        if is_better(settings.train, value, None if best is None else best[0]):
            best = value, step
    if best is None:
        raise UserError(f"{settings.train.monitor} was not a finite number at any step")
    return best


def _grid_size(space: Space) -> int:
    sizes = 1
    for key, values in space.items():
        if not isinstance(values, Choice):
            raise UserError(
                f"a grid has lists of values, but {key} is a range; list its values, or leave --sampler out"
            )
        sizes *= len(values.values)
    return sizes


def _grid_point(space: Space, number: int) -> dict[str, Value]:
    points = product(*(values.ends for values in space.values()))
    return dict(zip(space, [*points][number], strict=True))


def _result(study: Study, monitor: str, best: Callable[[Mapping[str, Value]], Experiment], out: Path) -> Sweep:
    about = study.user_attrs
    ended = [Trial(one.number, one.value, one.params, **about.get(_about(one.number), {})) for one in study.trials]
    sign = 1 if lower_is_better(monitor) else -1
    ended.sort(key=lambda one: (one.value is None, sign * (one.value or 0.0), one.number))
    write_json(out / TRIALS, {"monitor": monitor, "trials": config.plain(ended)}, indent=1)
    if ended[0].value is None:
        raise UserError(f"all {len(ended)} trials failed, the first one with: {ended[0].error}")
    write_text(out / BEST, config.dump(best(ended[0].params)))
    return Sweep(monitor, tuple(ended), out / BEST)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
