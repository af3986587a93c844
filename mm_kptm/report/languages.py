"""Accuracy of arms by language, with the gap of cross-lingual transfer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from mm_kptm.report.arms import ReportedArm
from mm_kptm.report.comparison import Row, Table
from mm_kptm.report.statistics import over_seeds


def by_language(arms: Sequence[ReportedArm], split: str, sources: Mapping[str, str]) -> Table | None:
    """Table of the accuracy in every language, their average and the transfer gap; None for one language alone.

    The gap is the accuracy in the source language minus the average of the other languages (Hu et al. 2020, XTREME,
    section 5.1); values are means over seeds, with the standard deviation over seeds.

    Args:
        arms: the arms.
        split: which answers.
        sources: language of the supervision, by arm; an arm without one has no gap.
    """
    rows: list[Row] = []
    for arm in arms:
        seeds = [found for run in arm.runs if (found := _of_run(run.predictions.get(split, ())))]
        languages = sorted({language for found in seeds for language in found})
        if len(languages) < 2:
            continue
        for language in languages:
            rows.append(_row(arm.name, language, [found[language] for found in seeds if language in found]))
        rows.append(_row(arm.name, "average", [float(np.mean(list(found.values()))) for found in seeds]))
        source = sources.get(arm.name)
        if source in languages:
            rows.append(_row(arm.name, f"gap from {source}", [_gap(found, str(source)) for found in seeds]))
    if not rows:
        return None
    return Table(
        f"Split {split}, by language",
        tuple(rows),
        "Means over seeds. The gap is the accuracy in the source language minus the average of the others.",
    )


def _of_run(predictions: Sequence[object]) -> dict[str, float]:
    scores: dict[str, list[float]] = defaultdict(list)
    for one in predictions:
        correct = getattr(one, "correct", None)
        if correct is not None:
            scores[str(getattr(one, "language", ""))].append(float(correct))
    return {language: sum(found) / len(found) for language, found in scores.items()}


def _gap(found: Mapping[str, float], source: str) -> float:
    others = [score for language, score in found.items() if language != source]
    return found[source] - sum(others) / len(others)


def _row(arm: str, metric: str, values: Sequence[float]) -> Row:
    seeds = over_seeds(values)
    return Row(arm, metric, float(np.mean(values)), std=seeds.std)
