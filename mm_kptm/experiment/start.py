"""What settings and run folder must be before a run starts or goes on; imports nothing heavy."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from mm_kptm.errors import UserError
from mm_kptm.experiment.run_state import CONFIG, is_begun, is_longer, settings_to_resume
from mm_kptm.experiment.settings import Experiment


def check_start(settings: Experiment, folder: Path, *, resume: bool = False, overwrite: bool = False) -> None:
    """Check that a run may start in ``folder``, or go on there as it began.

    Raises:
        UserError: the folder holds something, or a run of other settings.
    """
    if resume and ((folder / CONFIG).is_file() or (folder / "checkpoints").is_dir()):
        check_same(settings, settings_to_resume(folder), folder)
    elif is_first_process() and not overwrite and is_begun(folder):
        raise UserError(
            f"the run folder {folder} is not empty; go on with --resume, start anew with --overwrite, or name another "
            "with --name=..."
        )


def check_same(requested: Experiment, began: Experiment, folder: Path) -> None:
    """Check that a run is resumed as it began, and say where it is made longer.

    Raises:
        UserError: as :func:`~mm_kptm.experiment.run_state.is_longer`.
    """
    if is_longer(requested, began, folder) and is_first_process():
        print(
            f"mm-kptm: {folder} goes on for more steps; the learning rate follows the {requested.train.schedule} "
            "schedule of the new length from here on, so the result is not that of one run of this length",
            file=sys.stderr,
        )


def is_first_process() -> bool:
    """Whether this is the main process of a ``torchrun`` or ``accelerate launch``, by its RANK."""
    return os.environ.get("RANK", "0") == "0"
