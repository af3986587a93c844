"""State of a run folder before it is opened: whether a run began there, and the settings that shaped its weights.

Every checkpoint seals the ``config.yaml`` and ``data.json`` that its weights were trained with. They win over the files
of the run folder, which anyone may edit; only paths, which change when a run or its data move, are read from there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from mm_kptm import config
from mm_kptm.config.paths import is_there, paths_of
from mm_kptm.errors import UserError
from mm_kptm.experiment.settings import Experiment
from mm_kptm.io.atomic import TEMPORARY
from mm_kptm.io.lock import LOCK
from mm_kptm.systems.plugin_files import check_plugins

CONFIG, DATA, MODEL = "config.yaml", "data.json", "model"
INIT_STD = "encoder.init_std"
LENGTH = ("train.steps", "train.epochs", "train.patience")  #: settings that a run which has ended may go on with

FREE = ("train.max_hours",)  #: settings that say nothing of the result, so that every start may choose its own


def leftovers(folder: Path) -> list[Path]:
    """Files in a run folder that no run consists of: the lock, and temporary files of killed processes."""
    if not folder.is_dir():
        return []
    return [path for path in sorted(folder.iterdir()) if path.name == LOCK or path.name.endswith(TEMPORARY)]


def refuse_links(folder: Path) -> None:
    """Refuse a run folder in which a file is a link: what writes to the run would write to somewhere else.

    Raises:
        UserError: names the link. Folders may be links, to a larger disk for example.
    """
    for part in (folder, *(folder / name for name in ("checkpoints", "predictions", "model"))):
        for path in sorted(part.iterdir()) if part.is_dir() else ():
            if path.is_symlink() and not path.is_dir() and not path.name.startswith(".") and path.suffix != TEMPORARY:
                raise UserError(f"{path} is a link, but a run folder holds its files itself; put the file there")


def is_begun(folder: Path) -> bool:
    """Whether a folder holds anything but :func:`leftovers`."""
    return folder.is_dir() and len(list(folder.iterdir())) > len(leftovers(folder))


def settings_to_resume(folder: Path, overrides: Sequence[str] = ()) -> Experiment:
    """Settings to go on with a run: those its last checkpoint seals, or ``config.yaml`` where there is none yet.

    The length of the run is read from ``config.yaml``: a run that had ended may have been asked to go on.

    Raises:
        UserError: the folder is no run, its last checkpoint is damaged, or ``config.yaml`` was changed since.
    """
    from mm_kptm.train.checkpoint import Checkpoints  # imports torch

    check_plugins(folder)
    checkpoint = Checkpoints(folder).find("latest")
    if checkpoint is None or not (checkpoint / CONFIG).is_file():
        return config.read(Experiment, config_of(folder), overrides)
    settings, differences = settled(folder, checkpoint, overrides)
    if differences:
        raise UserError(f"{differences[0]}; put it back from {checkpoint / CONFIG}, or start a new run")
    return settings


def is_longer(requested: Experiment, began: Experiment, folder: Path) -> bool:
    """Whether a run that has ended is asked to go on for more steps.

    Raises:
        UserError: the settings differ in more than the length, the run has not ended, or it is longer already.
    """
    ours, theirs = config.leaves(requested), config.leaves(began)
    if ours.get(INIT_STD) == "auto":  # the run says what that was
        ours[INIT_STD] = theirs.get(INIT_STD)
    changed = [key for key in sorted(ours | theirs) if ours.get(key) != theirs.get(key) and key not in FREE]
    ended = (folder / MODEL).is_dir()  # written after the last step
    before, now = paths_of(began), paths_of(requested)
    moved = {key for key in before.keys() & now.keys() if _is_moved(before[key], now[key])}
    if requested.folder.resolve() == folder.resolve():
        moved.add("out")
    changed = [key for key in changed if key not in moved]
    for key in changed:
        if key not in LENGTH or not ended:
            raise UserError(
                f"{folder} began with {key} {theirs.get(key)!r}, not {ours.get(key)!r}; resume it as it began, "
                f"with `mm-kptm train --resume {folder}`, or start a new run"
            )
        longer, length = ours.get(key), theirs.get(key)
        if isinstance(longer, int) and isinstance(length, int) and longer < length:
            raise UserError(f"{folder} was trained with {key} {length}, more than {longer}; ask for more, or a new run")
    return bool({"train.steps", "train.epochs"} & set(changed))


def settled(folder: Path, checkpoint: Path, overrides: Sequence[str] = ()) -> tuple[Experiment, list[str]]:
    """Settings sealed in a checkpoint with the paths and the length that ``config.yaml`` of the run has.

    Returns:
        The settings, and how else ``config.yaml`` differs, a sentence per key. A lost ``config.yaml`` does not differ.

    Raises:
        UserError: the checkpoint holds no settings.
    """
    sealed, path = config.read(Experiment, checkpoint / CONFIG), folder / CONFIG
    if not path.is_file():
        return config.read(Experiment, checkpoint / CONFIG, overrides), []
    try:
        there = config.read(Experiment, path)
    except UserError as error:
        return sealed, [f"{path} is not what the run began with ({error})"]
    ours, theirs = config.leaves(sealed), config.leaves(there)
    kept = {*paths_of(there), *LENGTH, *FREE}
    changed = [key for key in sorted(ours | theirs) if ours.get(key) != theirs.get(key)]
    moved = [f"--{key}={json.dumps(theirs[key])}" for key in changed if key in kept and key in theirs]
    said = [
        f"{path} is not what the run began with: {key} is {theirs.get(key)!r} there and was {ours.get(key)!r}"
        for key in changed
        if key not in kept
    ]
    return config.read(Experiment, checkpoint / CONFIG, [*moved, *overrides]), said


def config_of(folder: Path) -> Path:
    """The resolved settings of a run folder.

    Raises:
        UserError: it is no run folder.
    """
    path = folder / CONFIG
    if path.is_file():
        return path
    if (folder.parent / CONFIG).is_file():
        raise UserError(f"{folder} is no run folder: it has no {CONFIG}; {folder.parent} is one")
    if leftovers(folder) and not is_begun(folder):
        raise UserError(f"{folder} was stopped before it began; begin it with `mm-kptm train EXPERIMENT.yaml --resume`")
    raise UserError(f"{folder} is no run folder: it has no {CONFIG}; name the folder that `mm-kptm train` wrote")


def _is_moved(before: Path, now: Path) -> bool:
    """Whether two paths are one place by two names, or the first is there no longer; data are compared by hashes."""
    return before.resolve() == now.resolve() or not is_there(before)
