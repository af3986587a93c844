"""The verb compare: arms on one budget, several seeds, paired statistics."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mm_kptm.cli.output import add_json, only_json, print_json
from mm_kptm.cli.threads import physical_cores


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the parser."""
    compare = verbs.add_parser(
        "compare",
        help="train several experiments with several seeds and compare them",
        usage="mm-kptm compare EXPERIMENT.yaml... [--a.b=c ...] [--seeds N] [--out DIR] [options]",
        epilog="A key inside a block can be overridden in all of them as --a.b=c, for example --train.steps=10. The "
        "same command goes on with a comparison that was stopped.",
        allow_abbrev=False,
    )
    compare.description = (
        "Train every experiment, and null arms without vision or facts, with the same budget and several seeds; print "
        "mean, spread and the paired difference from the first one."
    )
    compare.add_argument("experiments", nargs="+", type=Path, metavar="EXPERIMENT.yaml", help="experiment files")
    compare.add_argument("--seeds", type=int, default=5, help="runs of every arm (default: 5)")
    compare.add_argument("--out", type=Path, default=Path("comparison"), help="its folder (default: comparison)")
    compare.add_argument(
        "--workers", type=int, default=physical_cores(), help="runs at a time, one thread each (default: the cores)"
    )
    compare.add_argument(
        "--split", action="append", metavar="NAME", help="what is answered; may be given again (default: test)"
    )
    compare.add_argument("--no-nulls", action="store_true", help="leave out the null arms")
    compare.add_argument("--unequal", action="store_true", help="allow unequal budgets and print how they differ")
    add_json(compare)
    compare.set_defaults(run=_compare)


def _compare(options: argparse.Namespace) -> int:
    from mm_kptm import experiment, report
    from mm_kptm.experiment.locations import read_experiment

    arms = [read_experiment(path, options.overrides) for path in options.experiments]
    with only_json(options.json):
        compared = experiment.compare(
            arms,
            options.out,
            seeds=options.seeds,
            workers=options.workers,
            splits=tuple(dict.fromkeys(options.split or ("test",))),
            nulls=not options.no_nulls,
            unequal=options.unequal,
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )
    if options.json:
        print_json(report.as_json(compared.comparison))
    else:
        print(report.comparison_text(compared.comparison))
        print(f"\nreport: {compared.report}")
    for name, why in compared.missing.items():
        print(f"mm-kptm: {name} {why}", file=sys.stderr)
    return 2 if compared.missing else 0
