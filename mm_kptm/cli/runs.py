"""The verbs that work on runs: demo, train, evaluate, report."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mm_kptm import config
from mm_kptm.cli.output import add_json, only_json, print_json, print_pairs
from mm_kptm.errors import UserError

if TYPE_CHECKING:
    from mm_kptm.experiment.preview import DryRun
    from mm_kptm.experiment.settings import Experiment

TIERS = {"tiny": "seconds", "demo": "minutes on two cores", "paper": "about an hour, five seeds"}
SUITES = ("number-world", "atlas")
LATEST = "the run folder of the experiment"


class _Keys(argparse.Action):
    """Action of ``--keys``: print the keys of an experiment file and exit."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: object, *_: object
    ) -> None:
        from mm_kptm.experiment.settings import Experiment

        print(config.describe(Experiment, str(values or "")))
        parser.exit()


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verbs to the parser."""
    demo = verbs.add_parser("demo", help="train, ablate and report on an embedded benchmark, with no download")
    demo.description = "Pretrain, fine-tune and ablate on the embedded benchmark, print the tables, write a report."
    demo.add_argument(
        "--suite",
        choices=SUITES,
        default="number-world",
        help="number-world: digits, made facts, five languages; atlas: real drawings, names and facts "
        "(default: number-world)",
    )
    tiers = "; ".join(f"{tier}: {cost}" for tier, cost in TIERS.items())
    demo.add_argument("--tier", choices=TIERS, default="demo", help=f"how much of it ({tiers})")
    demo.add_argument("--seeds", type=int, help="runs of every arm, with the seeds from 0 on (default: the tier's)")
    demo.add_argument("--out", type=Path, default=Path("demo"), help="folder for runs and report (default: demo)")
    add_json(demo)
    demo.set_defaults(run=_demo)

    train = verbs.add_parser(
        "train",
        help="pretrain or fine-tune as an experiment file says",
        usage="mm-kptm train EXPERIMENT.yaml [--a.b=c ...] [--resume] | mm-kptm train --resume RUN",
        epilog="Any key of the file can be overridden as --a.b=c, for example --train.steps=10; --keys lists them. "
        "On SIGTERM, SIGUSR1 or after train.max_hours the run saves a checkpoint and ends with exit code 75.",
        allow_abbrev=False,
    )
    train.description = "Train what an experiment file says, into the run folder OUT/NAME that it names."
    train.add_argument("experiment", nargs="?", type=Path, metavar="EXPERIMENT.yaml", help="an experiment file")
    train.add_argument(
        "--resume",
        nargs="?",
        const=LATEST,
        metavar="RUN",
        help="go on exactly where this run, or this RUN, stopped; what was killed before it began, begins; "
        "--train.steps=N makes a run longer that has ended",
    )
    train.add_argument(
        "--keys",
        action=_Keys,
        nargs="?",
        metavar="PREFIX",
        help="list every key of an experiment file, those that begin with PREFIX, or those of a data set, and end",
    )
    train.add_argument("--print-config", action="store_true", help="print all settings, defaults included, and end")
    train.add_argument(
        "--dry-run", action="store_true", help="read the data, build the model, show the first batch; write nothing"
    )
    train.add_argument("--overwrite", action="store_true", help="remove the run that is in the folder, and start anew")
    train.set_defaults(run=_train)

    evaluate = verbs.add_parser("evaluate", help="measure a trained run on a split")
    evaluate.description = "Measure a checkpoint of a run, and write predictions/SPLIT.jsonl into its folder."
    evaluate.add_argument("folder", type=Path, metavar="RUN", help="a run folder")
    evaluate.add_argument("--split", default="test", help="which examples (default: test)")
    evaluate.add_argument(
        "--checkpoint",
        default="last",
        metavar="last|best|STEP",
        help="best by train.monitor, or of a step (default: last)",
    )
    add_json(evaluate)
    evaluate.set_defaults(run=_evaluate)

    report = verbs.add_parser("report", help="write one HTML page about one or several runs")
    report.description = "Curves, tables, examples with boxes and attention: one page that needs nothing else."
    report.add_argument("folders", type=Path, nargs="+", metavar="RUN", help="run folders")
    report.add_argument("--out", type=Path, help="the page (default: report.html in the run, or beside several)")
    report.set_defaults(run=_report)


def _demo(options: argparse.Namespace) -> int:
    from mm_kptm.suites.atlas.demo.demo import demo as on_atlas
    from mm_kptm.suites.number_world.demo.demo import demo as on_number_world

    with only_json(options.json):
        demo = on_atlas if options.suite == "atlas" else on_number_world
        result = demo(options.tier, options.out, seeds=options.seeds)
    if options.json:
        print_json(result.plain())
    else:
        print(result.text())
        print(f"\nreport: {result.report}")
        if options.suite == "number-world":
            print("real drawings, names and facts: mm-kptm demo --suite atlas")
    return 0


def _train(options: argparse.Namespace) -> int:
    if options.print_config:
        _print_config(_requested(options))
        return 0
    for one, other in (("resume", "overwrite"), ("resume", "dry_run")):
        if getattr(options, one) is not None and getattr(options, other):
            raise UserError(f"--{one} and --{other.replace('_', '-')} exclude each other; leave one out")
    from mm_kptm import experiment
    from mm_kptm.experiment.start import is_first_process
    from mm_kptm.train.parallel.processes import Preempted, process_group
    from mm_kptm.train.preemption import EXIT_CODE

    try:
        with process_group():
            settings, folder = _settings_of(options)
            if options.dry_run:
                checked = experiment.dry_run(settings)
            else:
                experiment.train(settings, folder, resume=options.resume is not None, overwrite=options.overwrite)
    except Preempted as ended:
        if is_first_process():
            print(f"mm-kptm: {ended}: mm-kptm train --resume {folder}", file=sys.stderr)
        return EXIT_CODE
    if options.dry_run:
        if is_first_process():
            _print_dry_run(checked)
        return 0
    if is_first_process():
        print(folder)
    return 0


def _print_config(asked: Experiment) -> None:
    """Print all settings, those that follow from others with a comment."""
    from mm_kptm.experiment.defaults import said_of, with_defaults

    resolved = with_defaults(asked)
    if (said := said_of(asked, resolved)) is not None:
        print(f"# {said}")
    print(config.dump(resolved), end="")


def _requested(options: argparse.Namespace) -> Experiment:
    """Settings of an experiment file with overrides, or of the run to resume, whatever the run folder holds."""
    from mm_kptm.experiment.locations import read_experiment

    if options.experiment is not None:
        return read_experiment(options.experiment, options.overrides)
    if options.resume in (None, LATEST):
        raise UserError("train needs an experiment file, or --resume with a run folder")
    if Path(options.resume).is_file():
        return read_experiment(Path(options.resume), options.overrides)
    from mm_kptm.experiment.run_state import settings_to_resume

    return settings_to_resume(Path(options.resume), options.overrides)


def _print_dry_run(checked: DryRun) -> None:
    from mm_kptm.experiment.show import lines_of

    print_pairs(
        {
            "run": checked.run,
            "system": checked.system,
            "parameters": f"{checked.parameters:,}, {checked.trained_parameters:,} of them trained",
            "steps": checked.steps,
            "examples": dict(checked.examples),
            "first batch": f"{checked.batch_size} examples",
            "loss of it": checked.loss,
            "dev, untrained": dict(checked.dev),
        }
    )
    for example in checked.first:
        print("\n".join(lines_of(example)))
    print("nothing was trained or written")


def _settings_of(options: argparse.Namespace) -> tuple[Experiment, Path]:
    """Settings and run folder of ``train``, from an experiment file or from the run to resume."""
    from mm_kptm.experiment.locations import read_experiment, relocated
    from mm_kptm.experiment.run_state import FREE, LENGTH, settings_to_resume
    from mm_kptm.experiment.start import check_same, check_start

    if options.resume not in (None, LATEST) and Path(options.resume).is_file() and options.experiment is None:
        options.experiment, options.resume = Path(options.resume), LATEST  # `train --resume EXPERIMENT.yaml`
    if options.experiment is None:
        if options.resume in (None, LATEST):
            raise UserError("train needs an experiment file, or --resume with a run folder")
        for override in options.overrides:
            if override.removeprefix("--").partition("=")[0] not in LENGTH + FREE:
                raise UserError(f"{override} would change a resumed run; it keeps the settings it began with")
        folder = Path(options.resume)
        settings = settings_to_resume(folder, options.overrides)
        check_same(settings, settings_to_resume(folder), folder)
        return relocated(settings, folder), folder
    settings = read_experiment(options.experiment, options.overrides)
    folder = settings.folder if options.resume in (None, LATEST) else Path(options.resume)
    check_start(settings, folder, resume=options.resume is not None, overwrite=options.overwrite)
    return settings, folder


def _evaluate(options: argparse.Namespace) -> int:
    from mm_kptm.experiment.api import evaluate
    from mm_kptm.experiment.start import is_first_process

    with only_json(options.json):
        measured = evaluate(options.folder, options.split, checkpoint=options.checkpoint)
    if is_first_process():
        print_json(measured) if options.json else print_pairs(measured)
    return 0


def _report(options: argparse.Namespace) -> int:
    from mm_kptm import report

    print(report.write(options.folders, options.out))
    return 0
