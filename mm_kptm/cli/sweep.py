"""The verb sweep: hyper-parameter search, judged on the dev split."""

from __future__ import annotations

import argparse
import os
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from mm_kptm.cli.output import LINE, add_json, only_json, print_json, print_rows
from mm_kptm.errors import UserError

if TYPE_CHECKING:
    from mm_kptm.experiment.tuning.hyperparameter_search import Sweep

SAMPLERS = ("tpe", "random", "grid")


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the parser."""
    sweep = verbs.add_parser(
        "sweep",
        help="search the settings that are best on the dev split",
        usage="mm-kptm sweep EXPERIMENT.yaml --over KEY=VALUES ... [--trials N] [--a.b=c ...] [options]",
        epilog="VALUES are log:1e-5:1e-3, uniform:0:0.3, int:2:12 or a list, 16,32,64. The same command goes on with a "
        "sweep that was stopped, or with a larger --trials with one that ended.",
        allow_abbrev=False,
    )
    sweep.description = (
        "Train an experiment with several settings, drawn by Optuna; print a table, and write the best experiment to "
        "best.yaml. Trials are judged on the split dev; the test split is not read."
    )
    sweep.add_argument("experiment", type=Path, metavar="EXPERIMENT.yaml", help="an experiment file")
    sweep.add_argument(
        "--over", action="append", default=[], metavar="KEY=VALUES", help="a key to search; may be given again"
    )
    sweep.add_argument("--trials", type=int, default=20, metavar="N", help="runs in all (default: 20)")
    sweep.add_argument("--monitor", metavar="dev/MEASURE", help="what to judge by (default: train.monitor)")
    sweep.add_argument(
        "--sampler", choices=SAMPLERS, default="tpe", help="how values are drawn; grid: all of the lists (default: tpe)"
    )
    sweep.add_argument("--out", type=Path, default=Path("sweep"), help="its folder (default: sweep)")
    sweep.add_argument("--wide", action="store_true", help=f"do not cut what is longer than {LINE} columns")
    add_json(sweep)
    sweep.set_defaults(run=_sweep)


def _sweep(options: argparse.Namespace) -> int:
    from mm_kptm import experiment
    from mm_kptm.experiment.tuning.search_space import split_over

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("a sweep runs its trials one after another in one process; start it without a launcher")
    over: dict[str, list[str]] = defaultdict(list)
    for text in options.over:
        key, values = split_over(text)
        over[key].append(values)
    if twice := [key for key, given in over.items() if len(given) > 1]:
        raise UserError(f"--over names {twice[0]} twice; name each key once")
    with only_json(options.json):
        found = experiment.sweep(
            options.experiment,
            options.out,
            trials=options.trials,
            over={key: values[0] for key, values in over.items()},
            overrides=options.overrides,
            monitor=options.monitor,
            sampler=options.sampler,
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )
    if options.json:
        print_json(found)
    else:
        _print(found, wide=options.wide)
    return 0


def _print(found: Sweep, *, wide: bool) -> None:
    keys = sorted({key for trial in found.trials for key in trial.params})
    rows = [
        {
            "trial": trial.number,
            found.monitor: "failed" if trial.value is None else f"{trial.value:.4f}",
            "at step": trial.step,
            **{key: trial.params.get(key) for key in keys},
            **({"error": trial.error or ""} if any(one.error for one in found.trials) else {}),
        }
        for trial in found.trials
    ]
    print_rows(rows, limit=None if wide else LINE)
    print(f"\nbest: {found.best}")
