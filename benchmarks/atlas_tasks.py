"""Train the tasks of Atlas beside the demonstration, and write their tables beside its own.

Run from the root of the repository::

    python -m benchmarks.atlas_tasks atlas-tasks
    python -m benchmarks.atlas_tasks atlas-tasks --task hop --fold 0

Each task is a file of ``experiments/atlas``. Small splits are trained in five folds, whose answers are put together:
every fact, country or family is asked about by a model that was not trained on it. Intervals are drawn from what
answers share: families of concepts, or countries. The tables are written after every fold; runs that have ended are not
trained again, and tables of tasks that the folder holds no whole run of stay as they are. What SIGTERM or Ctrl-C ends
goes on from its last checkpoint with the same command.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.atlas import DOCS, markdown_table, write_section
from mm_kptm.cli import MISTAKE, STOPPED
from mm_kptm.errors import UserError
from mm_kptm.experiment.locations import read_experiment
from mm_kptm.experiment.run import evaluated, train
from mm_kptm.experiment.settings import Experiment
from mm_kptm.report import Row, Run, Table, bootstrap, read_run
from mm_kptm.report.languages import script_of
from mm_kptm.report.runs import Prediction
from mm_kptm.suites.atlas.data.atlas import ATLAS_VERSION
from mm_kptm.train.parallel.processes import Preempted
from mm_kptm.train.preemption import EXIT_CODE

FILES = Path(__file__).parents[1] / "experiments" / "atlas"
#: Folds of every task, a run each.
FOLDS = {"compositions": (0, 1, 2, 3, 4), "counting": (0,), "facts": (0, 1, 2, 3, 4), "hop": (0, 1, 2, 3, 4)}
#: Splits that are asked, with what they are.
SPLITS = {
    "compositions": {"test-iid": "drawings of training", "test-style": "the unseen style",
                     "test-concept": "held-out families", "test-style-concept": "both at once"},
    "counting": {"test-iid": "drawings of training", "test-style": "the unseen style",
                 "test-concept": "held-out families", "test-subgroup": "held-out subgroups"},
    "facts": {"test": "true facts", "test-swapped": "swapped facts, scored by them", "test-none": "no facts"},
    "hop": {"test": "true facts", "test-swapped": "swapped facts, scored by them", "test-none": "no facts"},
}  # fmt: skip
TITLES = {
    "compositions": "Composed drawings: who is there, and what they have",
    "counting": "Counting drawings that a name means",
    "facts": "Regions of countries: facts that training never asks for",
    "hop": "Two steps: the script of the official language",
}
DRAWS = 2000
KIND, LANGUAGE, SCRIPT = attrgetter("type"), attrgetter("language"), lambda one: f"{script_of(one.language)} script"
BEGIN, END = "<!-- tables: python -m benchmarks.atlas_tasks OUT -->", "<!-- end of the tables of tasks -->"


def experiment_of(task: str, fold: int, out: Path) -> Experiment:
    """The experiment of a task with one fold of its data."""
    settings = read_experiment(FILES / f"{task}.yaml")
    data = replace(settings.data, fold=fold) if len(FOLDS[task]) > 1 else settings.data
    return replace(settings, name=f"{task}-fold-{fold}", data=data, out=out)


def missing(task: str, folder: Path) -> list[str]:
    """Splits of a task that a run was not asked yet."""
    return [split for split in SPLITS[task] if not (folder / "predictions" / f"{split}.jsonl").is_file()]


def measured(task: str, fold: int, out: Path) -> None:
    """Train one fold and ask all of its splits, unless that was done."""
    settings = experiment_of(task, fold, out)
    folder = out / settings.name
    if splits := missing(task, folder):
        built = train(settings, folder, resume=True, progress=False)
        for split in splits:
            found = evaluated(folder, settings, built, split)
            print(f"{settings.name} {split}: {found.get('accuracy', float('nan')):.3f}", flush=True)


def table(task: str, runs: Sequence[Run]) -> Table:
    """Accuracy over all folds, by kind, language and script of question, with the controls of every split."""
    generator, rows = np.random.default_rng(0), list[Row]()

    def row(name: str, answers: Sequence[Prediction]) -> Row:
        scores = [float(one.correct or 0) for one in answers]
        found = bootstrap(scores, [one.group for one in answers], generator, draws=DRAWS)
        return Row(name, "accuracy", found.value, found.low, found.high, found.n)

    for split, meaning in SPLITS[task].items():
        answers = [one for run in runs for one in run.predictions.get(split, ()) if one.correct is not None]
        rows.append(row(meaning, answers))
        for of in (KIND, LANGUAGE, SCRIPT) if split == next(iter(SPLITS[task])) else ():
            parts = sorted({of(one) for one in answers})
            for part in parts if len(parts) > 1 else ():
                rows.append(row(f"{meaning}: {part}", [one for one in answers if of(one) == part]))
        sizes = [len(run.predictions.get(split, ())) for run in runs]
        for control in runs[0].baselines.get(split, {}):
            value = float(np.average([run.baselines[split][control] for run in runs], weights=sizes))
            rows.append(Row(f"{control}: {meaning}", "accuracy", value, baseline=True))
    count = len(FOLDS[task])
    folds = f"{len(runs)} of {count} folds, one seed" if count > 1 else "One seed"
    return Table(TITLES[task], tuple(rows), f"{folds}; `experiments/atlas/{task}.yaml`.")


def write_tables(out: Path, docs: Path) -> None:
    """Write the tables of all tasks that a folder holds whole runs of; those of other tasks stay."""
    path = docs / "atlas-results.json"
    results = json.loads(path.read_text(encoding="utf-8"))
    kept = {one["title"]: one for one in results.get("tasks", ())}
    for task, folds in FOLDS.items():
        folders = [out / f"{task}-fold-{fold}" for fold in folds]
        runs = [read_run(folder) for folder in folders if not missing(task, folder)]
        if runs:
            kept[TITLES[task]] = as_json(table(task, runs))
    found = [kept[title] for title in TITLES.values() if title in kept]
    tables = [Table(one["title"], tuple(Row(**row) for row in one["rows"]), one["note"]) for one in found]
    write_section(docs / "atlas.md", BEGIN, END, "\n".join(markdown_table(one) for one in tables))
    results |= {"tasks_version": ATLAS_VERSION, "tasks": found}
    path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Train what is asked for, and write the tables after every fold.

    Returns:
        0; 75 where SIGTERM ended a training, 130 where Ctrl-C did, 2 where something stands in the way.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder of the runs")
    parser.add_argument("--task", choices=tuple(FOLDS), action="append", help="which task (default: all)")
    parser.add_argument("--fold", type=int, choices=range(5), action="append", help="which folds (default: all)")
    parser.add_argument("--docs", type=Path, default=DOCS, help="the folder of atlas.md (default: docs)")
    options = parser.parse_args(arguments)
    asked = [
        (task, fold) for task in options.task or FOLDS for fold in FOLDS[task] if fold in (options.fold or FOLDS[task])
    ]
    try:
        write_tables(options.out, options.docs)
        for task, fold in asked:
            measured(task, fold, options.out)
            write_tables(options.out, options.docs)
    except Preempted as ended:
        print(f"benchmarks.atlas_tasks: {ended}; the same command goes on", file=sys.stderr)
        return EXIT_CODE
    except KeyboardInterrupt:
        print("\nbenchmarks.atlas_tasks: stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return STOPPED
    except UserError as mistake:
        print(f"benchmarks.atlas_tasks: {mistake}", file=sys.stderr)
        return MISTAKE
    return 0


def as_json(table: Table) -> dict[str, Any]:
    """One table of the leaderboard, without what is not known."""
    rows = [{key: value for key, value in vars(row).items() if value is not None} for row in table.rows]
    return {"title": table.title, "note": table.note, "rows": rows}


if __name__ == "__main__":
    sys.exit(main())
