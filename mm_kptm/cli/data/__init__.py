"""The verbs of data: checks of data files and of submissions, and what a model will read."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mm_kptm.cli.discovery import add_verbs_of
from mm_kptm.cli.output import add_json, only_json, print_json, print_rows
from mm_kptm.errors import UserError

if TYPE_CHECKING:
    from mm_kptm.experiment.show import Shown

CUSTOM = "custom"

__all__ = ["add_verbs"]


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verbs to the parser."""
    data = verbs.add_parser("data", help="look at data before a run needs them: check files, show what is read")
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
    validate.add_argument(
        "--column", action="append", default=[], metavar="KEY=COLUMN", help="as data.columns says; may be given again"
    )
    validate.add_argument(
        "--label-names", metavar="NAME,NAME...", help="of the integer labels 0, 1, ..., as data.label_names says"
    )
    add_json(validate)
    validate.set_defaults(run=_validate)

    submission = actions.add_parser("submission", help="check a whole submission to XTREME, and name every fault in it")
    submission.description = (
        "Compare the files of a submission (xnli/test-de.tsv, xquad/test-de.json) with the test data of every task "
        "that is there; each file that the evaluation would refuse or score wrongly is named."
    )
    submission.add_argument("folder", type=Path, metavar="FOLDER", help="a folder of folders, one per task")
    submission.add_argument(
        "--data", type=Path, required=True, metavar="XTREME", help="the folder of XTREME's download"
    )
    add_json(submission)
    submission.set_defaults(run=_submission)

    show = actions.add_parser("show", help="print examples as the model of an experiment will read them")
    show.description = (
        "Print the pieces of some examples, facts in braces behind the name that they hang from, and how many texts "
        "carry facts."
    )
    show.add_argument("experiment", type=Path, metavar="EXPERIMENT", help="an experiment file")
    show.add_argument("--n", type=int, default=5, metavar="N", help="so many examples (default: 5)")
    show.add_argument("--split", default="train", help="of which split (default: train)")
    add_json(show)
    show.set_defaults(run=_show)
    add_verbs_of(__name__, actions)


def _submission(options: argparse.Namespace) -> int:
    from mm_kptm.datasets.text.xtreme_folder import expected_submission, faults

    expected = expected_submission(options.data)
    found = faults(options.folder, expected)
    rows = [{"task": task, "languages": " ".join(sorted(languages))} for task, languages in expected.items()]
    if options.json:
        print_json({"checked": rows, "faults": found})
    else:
        print_rows(rows)
    if found:
        raise UserError("\n".join(found))
    return 0


def _validate(options: argparse.Namespace) -> int:
    from mm_kptm.data.formats.tables import TableColumns
    from mm_kptm.datasets.schemas import count_examples, reader

    names = tuple(options.label_names.split(",")) if options.label_names else ()
    table = TableColumns(dict(map(_key_and_column, options.column)), names)
    read = reader(options.task, options.format, table)
    rows = [{"file": str(file), "examples": count_examples(read, file)} for file in options.files]
    print_json(rows) if options.json else print_rows(rows)
    return 0


def _key_and_column(argument: str) -> tuple[str, str]:
    key, sign, column = argument.partition("=")
    if not (key and sign and column):
        raise UserError(f"--column takes KEY=COLUMN, such as text=sentence, not {argument!r}")
    return key, column


def _show(options: argparse.Namespace) -> int:
    from mm_kptm.experiment.locations import read_experiment
    from mm_kptm.experiment.show import show

    with only_json(options.json):
        shown = show(read_experiment(options.experiment), split=options.split, count=options.n)
    if options.json:
        print_json(shown)
    else:
        _print(shown)
    return 0


def _print(shown: Shown) -> None:
    from mm_kptm.experiment.show import lines_of

    for one in shown.examples:
        print("\n".join(lines_of(one)))
    print(f"\n{len(shown.examples)} of {shown.count} examples of {shown.split}")
    if shown.coverage is not None:
        print(shown.coverage.sentence())
    if shown.names is not None:
        print(shown.names.sentence())
