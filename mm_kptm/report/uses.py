"""Whether arms use the facts they are told: what they answer when they are told others than the true ones."""

from collections.abc import Sequence

import numpy as np

from mm_kptm.report.arms import ReportedArm
from mm_kptm.report.comparison import Row, Table
from mm_kptm.report.statistics import bootstrap, difference, over_seeds
from mm_kptm.report.tables import counted


def uses(arms: Sequence[ReportedArm], split: str, generator: np.random.Generator) -> Table | None:
    """How many answers of every arm stick to the true facts, and its knowledge-use score; None without such answers.

    The score is the share of answers that follow the facts told minus the share that stick to the true ones: 1 where
    only the facts told count, -1 where the true ones are known by heart and those told are ignored.
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
        owners = [group for of_run in answers for group, _, _ in of_run]
        follows_context = [correct for of_run in answers for _, correct, _ in of_run]
        memorised = [share for of_run in answers for _, _, share in of_run]
        stuck = bootstrap(memorised, owners, generator)
        score = difference(follows_context, memorised, owners, generator)
        seeds = [float(np.mean([correct - stuck for _, correct, stuck in of_run])) for of_run in answers if of_run]
        groups = max(groups, score.groups)
        rows.append(Row(arm.name, "memorised", stuck.value, stuck.low, stuck.high, stuck.n))
        spread = over_seeds(seeds).std
        rows.append(Row(arm.name, "knowledge use", score.value, score.low, score.high, score.n, std=spread))
    if not rows:
        return None
    return Table(
        f"Split {split}, knowledge use",
        tuple(rows),
        "Knowledge use: answers by the facts told minus answers by the true ones, which stick. Intervals of 95 % from "
        f"drawing {counted(groups, 'group')} of examples.",
    )
