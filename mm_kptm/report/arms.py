"""Grouping of runs into arms, and the tables computed from their predictions.

An arm is the set of runs that differ only in their seed. Its score on an example is the mean over its seeds.
Confidence intervals resample groups of examples (`statistics`), so they cover new scenes, not new seeds; the standard
deviation over seeds is reported beside them.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mm_kptm.io.records import Json
from mm_kptm.report.comparison import Row, Table
from mm_kptm.report.runs import Prediction, Run
from mm_kptm.report.statistics import DRAWS, Interval, bootstrap, difference, holm, over_seeds, permutation
from mm_kptm.report.tables import counted

_CELL_DRAWS = 2_000  # fewer draws: a breakdown has many cells
_NOT_THE_ARM = frozenset({"seed", "seeds", "name", "out", "folder"})


@dataclass(frozen=True)
class ReportedArm:
    """Runs of one configuration, one per seed."""

    name: str
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class ScoredArm:
    """Example with the arm's mean score over seeds."""

    prediction: Prediction
    score: float


@dataclass(frozen=True)
class Contrast:
    """Paired comparison of two arms on the same examples."""

    split: str
    arm: str
    reference: str
    gap: Interval
    p: float  #: Holm-corrected over all contrasts of the page


def gather(runs: Sequence[Run]) -> tuple[ReportedArm, ...]:
    """Group runs into arms, in order of first run; a run whose config names no seed is its own arm."""
    together: dict[str, list[Run]] = {}
    for number, run in enumerate(runs):
        alone = run.seed is None or not run.settings
        key = f"run {number}" if alone else json.dumps(_unseeded(dict(run.settings)), sort_keys=True, default=str)
        if any(other.seed == run.seed for other in together.get(key, ())):
            key = f"run {number}"  # a repeated seed is a repetition, not another seed
        together.setdefault(key, []).append(run)
    return tuple(
        ReportedArm(_shared_name([run.name for run in members]), tuple(members)) for members in together.values()
    )


def splits(arms: Sequence[ReportedArm]) -> list[str]:
    """Splits with predictions of any arm, sorted."""
    return sorted({split for arm in arms for run in arm.runs for split in run.predictions})


def scored(arm: ReportedArm, split: str) -> list[ScoredArm]:
    """Examples of a split that have a gold answer and that the arm answered, with the mean score over seeds."""
    scores: dict[str, list[float]] = {}
    first: dict[str, Prediction] = {}
    for run in arm.runs:
        for prediction in run.predictions.get(split, ()):
            if prediction.correct is not None:
                first.setdefault(prediction.id, prediction)
                scores.setdefault(prediction.id, []).append(prediction.correct)
    return [ScoredArm(first[name], sum(found) / len(found)) for name, found in scores.items()]


def headline(arms: Sequence[ReportedArm], split: str, generator: np.random.Generator) -> Table:
    """Accuracy of every arm on a split, followed by the model-free baselines."""
    rows = []
    groups = answered = 0
    for arm in arms:
        answered = max(answered, *(len(run.predictions.get(split, ())) for run in arm.runs))
        if not (examples := scored(arm, split)):
            continue
        found = _interval(examples, generator)
        groups = max(groups, found.groups)
        seeds = [
            float(np.mean(known))
            for run in arm.runs
            if (known := [one.correct for one in run.predictions.get(split, ()) if one.correct is not None])
        ]
        rows.append(Row(arm.name, "accuracy", found.value, found.low, found.high, found.n, std=over_seeds(seeds).std))
    if not rows:
        note = f"None of the {counted(answered, 'example')} has a gold answer, so there is no accuracy and no interval"
        return Table(f"Split {split}", (), note)
    rows += [Row(name, "accuracy", share, baseline=True) for name, share in _baselines(arms, split)]
    return Table(
        f"Split {split}", tuple(rows), f"Intervals of 95 % from drawing {counted(groups, 'group')} of examples."
    )


def _baselines(arms: Sequence[ReportedArm], split: str) -> list[tuple[str, float]]:
    """Model-free baselines of a split; those that not all arms share are followed by the arms that they belong to."""
    owners: dict[str, dict[float, list[str]]] = {}
    having = set[str]()
    for arm in arms:
        for run in arm.runs:
            for name, share in run.baselines.get(split, {}).items():
                having.add(arm.name)
                named = owners.setdefault(name, {}).setdefault(share, [])
                if arm.name not in named:
                    named.append(arm.name)
    found = []
    for name, by_share in sorted(owners.items()):
        for share, named in by_share.items():
            shared = len(by_share) == 1 and len(named) == len(having)
            found.append((name if shared else f"{name} ({', '.join(named)})", share))
    return found


def contrasts(arms: Sequence[ReportedArm], generator: np.random.Generator, *, draws: int = DRAWS) -> list[Contrast]:
    """Contrast of every arm with the first, by split, on the examples that both answered."""
    found: list[tuple[str, str, Interval, float]] = []
    for split in splits(arms):
        reference = {item.prediction.id: item for item in scored(arms[0], split)}
        for arm in arms[1:]:
            shared = [item for item in scored(arm, split) if item.prediction.id in reference]
            if not shared:
                continue
            ours = [item.score for item in shared]
            theirs = [reference[item.prediction.id].score for item in shared]
            groups = [item.prediction.group for item in shared]
            gap = difference(ours, theirs, groups, generator, draws=draws)
            p = permutation(ours, theirs, groups, generator, draws=draws)
            found.append((split, arm.name, gap, p))
    adjusted = holm([p for *_, p in found])
    return [Contrast(split, arm, arms[0].name, gap, p) for (split, arm, gap, _), p in zip(found, adjusted, strict=True)]


def breakdown(
    arm: ReportedArm, split: str, by: Callable[[Prediction], str], generator: np.random.Generator
) -> Mapping[str, Interval]:
    """Accuracy of an arm by kind of example, sorted by kind; examples without a kind are left out."""
    kinds: dict[str, list[ScoredArm]] = {}
    for item in scored(arm, split):
        if kind := by(item.prediction):
            kinds.setdefault(kind, []).append(item)
    return {kind: _interval(kinds[kind], generator, draws=_CELL_DRAWS) for kind in sorted(kinds)}


def confusions(arm: ReportedArm, split: str, count: int = 8) -> list[tuple[str, str, int]]:
    """Most frequent mistakes over all seeds: (gold answer, predicted answer, count)."""
    mistakes: dict[tuple[str, str], int] = {}
    for run in arm.runs:
        for prediction in run.predictions.get(split, ()):
            if prediction.correct is not None and prediction.correct < 0.5 and prediction.answer != prediction.target:
                pair = prediction.target, prediction.answer
                mistakes[pair] = mistakes.get(pair, 0) + 1
    ordered = sorted(mistakes.items(), key=lambda item: (-item[1], item[0]))
    return [(target, answer, times) for (target, answer), times in ordered[:count]]


def _interval(examples: Sequence[ScoredArm], generator: np.random.Generator, draws: int = DRAWS) -> Interval:
    return bootstrap(
        [item.score for item in examples], [item.prediction.group for item in examples], generator, draws=draws
    )


def _unseeded(value: Json) -> Json:
    """Config without the keys that may differ within an arm."""
    if isinstance(value, dict):
        return {key: _unseeded(inner) for key, inner in value.items() if key not in _NOT_THE_ARM}
    return value


def _shared_name(names: Sequence[str]) -> str:
    """Common prefix of the run names of an arm, without the trailing seed word."""
    if len(names) == 1:
        return names[0]
    alike = 0
    while alike < min(map(len, names)) and len({name[alike] for name in names}) == 1:
        alike += 1
    return names[0][:alike].removesuffix("seed").rstrip("-_. ").removesuffix("-seed") or names[0]
