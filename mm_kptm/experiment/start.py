"""What settings and run folder must be before a run starts or goes on; imports nothing heavy."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from mm_kptm import config
from mm_kptm.errors import UserError
from mm_kptm.experiment.settings import Experiment

CONFIG, MODEL = "config.yaml", "model"
LENGTH = ("train.steps", "train.epochs", "train.patience")  #: settings that a run which has ended may go on with


def config_of(folder: Path) -> Path:
    """The resolved settings of a run folder.

    Raises:
        UserError: it is no run folder.
    """
    path = folder / CONFIG
    if not path.is_file():
        inside = (folder.parent / CONFIG).is_file()
        remedy = f"{folder.parent} is one" if inside else "name the folder that `mm-kptm train` wrote"
        raise UserError(f"{folder} is no run folder: it has no {CONFIG}; {remedy}")
    return path


def check_start(settings: Experiment, folder: Path, *, resume: bool = False, overwrite: bool = False) -> None:
    """Check that a run may start in ``folder``, or go on there as it began.

    Raises:
        UserError: the folder holds something, or a run of other settings.
    """
    if resume and (folder / CONFIG).is_file():
        check_same(settings, config.read(Experiment, config_of(folder)), folder)
    elif is_first_process() and not overwrite and folder.exists() and any(folder.iterdir()):
        raise UserError(
            f"the run folder {folder} is not empty; go on with --resume, start anew with --overwrite, or name another "
            "with --name=..."
        )


def check_same(requested: Experiment, began: Experiment, folder: Path) -> None:
    """Check that a run is resumed as it began; one that has ended may be made longer.

    Raises:
        UserError: the settings differ in more than the length, the run has not ended, or it is longer already.
    """
    ours, theirs = config.leaves(requested), config.leaves(began)
    changed = [key for key in sorted(ours | theirs) if ours.get(key) != theirs.get(key)]
    ended = (folder / MODEL).is_dir()  # written after the last step
    for key in changed:
        if key not in LENGTH or not ended:
            raise UserError(
                f"{folder} began with {key} {theirs.get(key)!r}, not {ours.get(key)!r}; resume it as it began, "
                f"with `mm-kptm train --resume {folder}`, or start a new run"
            )
        longer, length = ours.get(key), theirs.get(key)
        if isinstance(longer, int) and isinstance(length, int) and longer < length:
            raise UserError(f"{folder} was trained with {key} {length}, more than {longer}; ask for more, or a new run")
    if {"train.steps", "train.epochs"} & set(changed) and is_first_process():
        schedule = requested.train.schedule
        print(
            f"mm-kptm: {folder} goes on for more steps; the learning rate follows the {schedule} schedule of the new "
            "length from here on, so the result is not that of one run of this length",
            file=sys.stderr,
        )


def is_first_process() -> bool:
    """Whether this is the main process of a ``torchrun`` or ``accelerate launch``, by its RANK."""
    return os.environ.get("RANK", "0") == "0"
