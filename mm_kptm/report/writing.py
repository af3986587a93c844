"""The report of run folders: one page for a run, for several, or for a comparison."""

import os
from collections.abc import Sequence
from pathlib import Path

from mm_kptm.errors import UserError
from mm_kptm.report.comparison import FILE, read_comparison
from mm_kptm.report.page import write_page
from mm_kptm.report.runs import read_run

PAGE = "report.html"


def write(runs: Sequence[Path], out: Path | None = None) -> Path:
    """Write the report of run folders and return its path.

    A folder with ``arms.json`` is a comparison that names its runs; it must be reported alone. The report of one run
    goes into its own folder, that of several into their common parent, unless ``out`` names a file or folder.
    """
    if not runs:
        raise UserError("a report was asked for without a run; name at least one run folder")
    comparisons = [folder for folder in runs if (folder / FILE).is_file()]
    if comparisons and len(runs) > 1:
        raise UserError(
            f"{comparisons[0]} is a comparison and is reported alone, but {len(runs)} folders were named; "
            "report it by itself, or name run folders only"
        )
    home = Path(os.path.commonpath([folder.resolve() for folder in runs]))
    target = home / PAGE if out is None else out / PAGE if out.is_dir() else out
    if comparisons:
        comparison = read_comparison(comparisons[0])
        return write_page(target, [read_run(comparisons[0] / name) for name in comparison.runs], comparison)
    return write_page(target, [read_run(folder) for folder in runs])
