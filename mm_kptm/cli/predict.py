"""The verbs that write predictions: predict, submit."""

from __future__ import annotations

import argparse
import json
import sys
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from mm_kptm.cli.output import add_json, only_json, print_json
from mm_kptm.errors import UserError

if TYPE_CHECKING:
    from mm_kptm.tasks.example import Row


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verbs to the parser."""
    predict = verbs.add_parser("predict", help="write what a trained run answers, one JSON object a line")
    predict.description = "Answer a split of the run's data, or a file of yours in the same format, as lines of JSON."
    predict.add_argument("folder", type=Path, metavar="RUN", help="a run folder")
    examples = predict.add_mutually_exclusive_group()
    examples.add_argument("--split", default="test", help="which examples (default: test)")
    examples.add_argument("--input", type=Path, metavar="FILE", help="examples of your own; answers may be missing")
    predict.add_argument("--out", type=Path, metavar="FILE", help="where to (default: print them)")
    predict.set_defaults(run=_predict)

    submit = verbs.add_parser("submit", help="write the files that an official evaluation takes")
    submit.description = (
        "Answer a split and write the files that official evaluations take; they are checked once written."
    )
    submit.add_argument("folder", type=Path, metavar="RUN", help="a run folder")
    submit.add_argument("--split", default="test", help="which examples (default: test)")
    submit.add_argument("--out", type=Path, metavar="FOLDER", help="where to (default: submission in the run)")
    submit.add_argument(
        "--check", type=Path, metavar="FILE", help="write nothing; read a file of yours as the evaluation would"
    )
    add_json(submit)
    submit.set_defaults(run=_submit)


def _predict(options: argparse.Namespace) -> int:
    from mm_kptm.experiment.predict import each_prediction, predict
    from mm_kptm.tasks.protocol import write_predictions
    from mm_kptm.train.parallel.processes import is_main_process, process_group

    if options.out is not None and options.out.is_dir():
        raise UserError(f"--out is {options.out}, a folder, but names the file to write")
    out = sys.stdout
    with only_json(True), process_group():
        rows: Iterable[Row] = (
            predict(options.folder, split=options.split)
            if options.input is None
            else each_prediction(options.folder, options.input)
        )
        if not is_main_process():
            deque(rows, maxlen=0)  # shares the work
            return 0
        if options.out is None:
            out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        else:
            write_predictions(rows, options.out)
    if options.out is not None:
        print(options.out)
    return 0


def _submit(options: argparse.Namespace) -> int:
    from mm_kptm.experiment.predict import check_submission, submit
    from mm_kptm.train.parallel.processes import is_main_process, process_group

    if options.check is not None:
        with only_json(options.json):
            check_submission(options.folder, options.check, split=options.split)
        print_json([options.check]) if options.json else print(options.check)
        return 0
    with only_json(options.json), process_group():
        files = submit(options.folder, split=options.split, folder=options.out)
        first = is_main_process()
    if not first:
        return 0
    if options.json:
        print_json(list(files))
    else:
        print("\n".join(map(str, files)))
    return 0
