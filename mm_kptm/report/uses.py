"""Knowledge use of arms under counterfactual facts: answers by the injected facts against memorised ones."""

from collections.abc import Sequence

import numpy as np

from mm_kptm.report.arms import ReportedArm
from mm_kptm.report.comparison import Row, Table
from mm_kptm.report.statistics import bootstrap, difference, over_seeds
from mm_kptm.report.tables import counted

SWAPPED = "-swapped"  #: end of the names of splits with swapped facts


def uses(arms: Sequence[ReportedArm], split: str, generator: np.random.Generator) -> Table | None:
    """Table of memorised answers and knowledge-use score of every arm; None without counterfactual examples.

    The score is the share of answers that follow the injected facts minus the share that follow the true (memorised)
    ones: 1 if only the injected facts count, -1 if they are ignored in favour of memorised ones.
    """
    rows: list[Row] = []
    groups = 0
    for arm in arms:
        answers = [
            [
                (answer.group, answer.correct, answer.memorised)
                for answer in run.predictions.get(split, ())
                if answer.correct is not None and answer.memorised is not None
            ]
            for run in arm.runs
        ]
        if not any(answers):
            continue
        example_groups = [group for of_run in answers for group, _, _ in of_run]
        follows_context = [correct for of_run in answers for _, correct, _ in of_run]
        memorised = [share for of_run in answers for _, _, share in of_run]
        memorised_rate = bootstrap(memorised, example_groups, generator)
        score = difference(follows_context, memorised, example_groups, generator)
        seeds = [float(np.mean([correct - share for _, correct, share in of_run])) for of_run in answers if of_run]
        groups = max(groups, score.groups)
        rows.append(
            Row(arm.name, "memorised", memorised_rate.value, memorised_rate.low, memorised_rate.high, memorised_rate.n)
        )
        spread = over_seeds(seeds).std
        rows.append(Row(arm.name, "knowledge use", score.value, score.low, score.high, score.n, std=spread))
    if not rows:
        return None
    return Table(
        f"Split {split}, knowledge use",
        tuple(rows),
        "Knowledge use: answers by the injected facts minus memorised answers by the true ones. Intervals of 95 % from "
        f"drawing {counted(groups, 'group')} of examples.",
    )


def agreement(arms: Sequence[ReportedArm], split: str, generator: np.random.Generator) -> Table | None:
    """Table of answers that stay the same when facts are swapped; None without both answers to an example.

    Args:
        arms: runs by arm.
        split: with swapped facts; its counterpart is ``<side>-true``, or the side itself.
        generator: of the bootstrap.
    """
    side = split.removesuffix(SWAPPED)
    rows: list[Row] = []
    groups = 0
    for arm in arms:
        of_runs = []
        for run in arm.runs:
            true = {one.id: one.answer for one in run.predictions.get(f"{side}-true", run.predictions.get(side, ()))}
            swapped = [one for one in run.predictions.get(split, ()) if one.id in true]
            of_runs.append([(float(one.answer == true[one.id]), one.group) for one in swapped])
        if not all(of_runs):
            continue
        same, of_groups = zip(*(one for of_run in of_runs for one in of_run), strict=True)
        found = bootstrap(same, of_groups, generator)
        spread = over_seeds([float(np.mean([share for share, _ in of_run])) for of_run in of_runs]).std
        groups = max(groups, found.groups)
        rows.append(Row(arm.name, "agreement", found.value, found.low, found.high, found.n, std=spread))
    if not rows:
        return None
    return Table(
        f"Split {split}, agreement with {side}",
        tuple(rows),
        "Answers that are the same with swapped facts as with the true ones: a model that reads the facts changes its "
        f"answer where the facts change it. Intervals of 95 % from drawing {counted(groups, 'group')} of examples.",
    )
