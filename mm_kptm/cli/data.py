"""The verb data validate: checks of data files."""

from __future__ import annotations

import argparse
from pathlib import Path

from mm_kptm.cli.output import add_json, print_json, print_rows

CUSTOM = "custom"


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the parser."""
    data = verbs.add_parser("data", help="check data files before a run needs them")
    actions = data.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    validate = actions.add_parser("validate", help="read files as a task would, and name what is wrong")
    validate.description = "Read every example of some files; the first thing that is wrong is named with its line."
    validate.add_argument("task", metavar="TASK", help="a task, from `mm-kptm list tasks`")
    validate.add_argument("files", type=Path, nargs="+", metavar="FILE", help="data files")
    validate.add_argument(
        "--format",
        default=CUSTOM,
        help="custom (docs/own-data.md), or that of a dataset such as xnli (default: custom)",
    )
    add_json(validate)
    validate.set_defaults(run=_validate)


def _validate(options: argparse.Namespace) -> int:
    from mm_kptm.datasets.schemas import reader

    read = reader(options.task, options.format)
    rows = [{"file": str(file), "examples": len(read(file))} for file in options.files]
    print_json(rows) if options.json else print_rows(rows)
    return 0
