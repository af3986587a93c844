"""Experiment trackers (Weights & Biases, MLflow, TensorBoard, ...) behind Accelerate's interface.

They show a run elsewhere and are no part of it: one that fails is left out from then on, with a notice, and the run
goes on. Addresses, keys and offline use are set as each of them documents, by ``WANDB_MODE``, ``WANDB_PROJECT``,
``MLFLOW_TRACKING_URI`` and so on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mm_kptm.errors import UserError, nearest, notice
from mm_kptm.io.atomic import write_json
from mm_kptm.io.records import Record, read_json

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

PROJECT = "mm-kptm"  #: name of the project, or experiment, that runs are listed under
RUNS = "trackers.json"  #: file of a run folder with the names that trackers gave the run
_EXTRA = ("wandb", "mlflow")  #: installed by the extra ``track``


def check_trackers(names: tuple[str, ...]) -> None:
    """Check that every tracker is known and installed.

    Raises:
        UserError: one is not.
    """
    if not names:
        return
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    installed = {str(tracker) for tracker in get_available_trackers()}
    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            raise UserError(f"train.trackers has no tracker {name!r}{nearest(name, LOGGER_TYPE_TO_CLASS)}")
        if name not in installed:
            remedy = "pip install 'mm-kptm[track]'" if name in _EXTRA else f"pip install {name}"
            raise UserError(f"train.trackers names {name}, whose package is not installed; {remedy} brings it")


def _known(file: Path) -> dict[str, str]:
    """Names of the runs by tracker, as a run folder keeps them."""
    kept = Record.of(read_json(file), str(file))
    return {name: kept.get(name, str) for name in kept.values}


class Trackers:
    """Open trackers of one run, in its main process.

    Args:
        names: as :mod:`accelerate.tracking` knows them.
        run: the run folder; a resumed run goes on under the names in its ``trackers.json``.
        label: name of the run.
        hyperparameters: settings of the run, by dotted key.
    """

    def __init__(self, names: tuple[str, ...], run: Path, label: str, hyperparameters: Mapping[str, object]) -> None:
        check_trackers(names)
        self._open: dict[str, GeneralTracker] = {}
        file = run / RUNS
        known = _known(file) if names and file.is_file() else {}
        for name in names:
            self._try(name, "it was opened", partial(self._start, name, run, label, known.get(name)))
        plain = {
            key: value if isinstance(value, int | float | str) else str(value) for key, value in hyperparameters.items()
        }
        self._each("the settings were stored", lambda tracker: tracker.store_init_configuration(plain))
        given = {name: found for name, tracker in self._open.items() if (found := _run_id(tracker)) is not None}
        if given:
            write_json(file, known | given, indent=1, ascii_only=True)

    def log(self, step: int, split: str, values: Mapping[str, float | int]) -> None:
        """Send the measures of a split after ``step``."""
        named = {f"{split}/{name}": value for name, value in values.items()}
        self._each(f"step {step} was logged", lambda tracker: tracker.log(named, step=step))

    def close(self) -> None:
        """End the run in every tracker."""
        self._each("it was closed", lambda tracker: tracker.finish())

    def _start(self, name: str, run: Path, label: str, known: str | None) -> None:
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        tracker: GeneralTracker = LOGGER_TYPE_TO_CLASS[name](**_arguments(name, run, label, known))
        tracker.start()
        self._open[name] = tracker

    def _each(self, when: str, act: Callable[[GeneralTracker], object]) -> None:
        for name, tracker in list(self._open.items()):
            self._try(name, when, partial(act, tracker))

    def _try(self, name: str, when: str, act: Callable[[], object]) -> None:
        """Do something with a tracker; leave it out if it fails in any way."""
        try:
            act()
        except Exception as error:  # of foreign code, a network or a disk: none is worth a run
            self._open.pop(name, None)
            reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
            notice(f"the tracker {name} failed when {when} ({reason[0]}); the run goes on without it")


def _arguments(name: str, run: Path, label: str, known: str | None) -> dict[str, Any]:
    """Arguments of the tracker classes of Accelerate; ``known``: how the tracker calls the run to go on with."""
    if name == "wandb":
        project = os.environ.get("WANDB_PROJECT", PROJECT)
        return {"run_name": project, "name": label, "dir": str(run), "id": known, "resume": "allow"}
    if name == "mlflow":
        return {"experiment_name": PROJECT, "run_name": label, "run_id": known}
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    where = {"logging_dir": str(run / name)} if LOGGER_TYPE_TO_CLASS[name].requires_logging_directory else {}
    return {"run_name": label, **where}


def _run_id(tracker: GeneralTracker) -> str | None:
    """How W&B or MLflow call the run, by which it is opened again."""
    if tracker.name == "wandb":
        return str(tracker.tracker.id)
    return str(tracker.tracker.info.run_id) if tracker.name == "mlflow" else None
