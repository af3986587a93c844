"""The sections of a page, each made from what was read; a section that has nothing to show is None."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from markupsafe import Markup

from mm_kptm.report.arms import ReportedArm, breakdown, splits
from mm_kptm.report.comparison import Claim
from mm_kptm.report.plots import Line, Panel, curves
from mm_kptm.report.results import crossed_table, kinds_table, mistakes_table
from mm_kptm.report.runs import Prediction, Run
from mm_kptm.report.scenes import gallery
from mm_kptm.report.tables import counted, stated
from mm_kptm.report.templating import render

_PACE = ("lr", "rows_per_s")  # measured for the machine's sake; drawn last
_UNDRAWN = frozenset({"n", "epoch", "seconds"})


@dataclass(frozen=True)
class Section:
    """A titled part of the page."""

    title: str
    content: Markup
    note: str = ""


@dataclass(frozen=True)
class Fold:
    """A part that a reader opens."""

    name: str
    about: str
    content: Markup
    open: bool = False


def section(title: str, *content: Markup | None, note: str = "") -> Section | None:
    """A part of the page; nothing where it has no content."""
    joined = Markup("\n").join(part for part in content if part)
    return Section(title, joined, note) if joined else None


def claims(made: Sequence[Claim], stands: str) -> Section | None:
    """What the comparison set out to show, and whether it did."""
    if not made:
        return None
    return section("Claims", render("claims.html", claims=made), note=f"In per cent; {stands}.")


def learning(arms: Sequence[ReportedArm], stands: str) -> Section | None:
    """One panel for each metric that was logged, one line for each run and split."""
    logged = {measured.split for arm in arms for run in arm.runs for measured in run.measurements}
    kinds = sorted(logged, key=lambda split: (split != "train", split))
    panels: dict[str, list[Line]] = {}
    for colour, arm in enumerate(arms):
        for run in arm.runs:
            for dashes, split in enumerate(kinds):
                for metric, points in _points(run, split).items():
                    line = (
                        Line(split, dashes, 0, points)  # a lone arm has its colours free to tell splits apart
                        if len(arms) == 1
                        else Line(f"{arm.name}, {split}", colour, dashes, points)
                    )
                    panels.setdefault(metric, []).append(line)
    order = sorted(panels, key=lambda metric: (metric in _PACE, metric != "loss", metric))
    drawn = [curves(Panel(metric, tuple(panels[metric]), _kind(metric, panels[metric]))) for metric in order]
    if not drawn:
        return None
    note = f"By training step; the key gives last values, for several seeds their mean; {stands}."
    panels_drawn = Markup('<div class="panels">{}</div>').format(Markup("").join(drawn))
    return section("Learning curves", panels_drawn, note=note)


def breakdowns(arms: Sequence[ReportedArm], stands: str, generator: np.random.Generator) -> Section | None:
    """Accuracy by question type and by language; for a single arm also by both at once, and its mistakes."""
    parts: list[Markup | None] = []
    for split in splits(arms):
        for name, kind in (("question type", _type), ("language", _language)):
            found = [breakdown(arm, split, kind, generator) for arm in arms]
            parts.append(kinds_table(split, name, arms, found, stands))
        if len(arms) == 1:
            parts.append(crossed_table(arms[0], split, stands, generator))
            parts.append(mistakes_table(arms[0], split, stands))
    return section("Breakdown", *parts)


def galleries(runs: Sequence[Run]) -> Section | None:
    """The examples of the runs; of several runs only the first lies open."""
    shown = [run for run in runs if run.gallery]
    note = (
        "Boxes and bars are relative to the largest share of attention in their list; figures are the shares. "
        "● marks a fact the question needs, ○ one it does not."
    )
    if len(shown) == 1:
        return section("Examples", gallery(shown[0].gallery), note=f"{note} From a run of {_about(shown[0])}.")
    folds = [
        Fold(run.name, f"{counted(len(run.gallery), 'example')}; {_about(run)}", gallery(run.gallery), open=place == 0)
        for place, run in enumerate(shown)
    ]
    return section("Examples", render("folds.html", folds=folds) if folds else None, note=note)


def provenance(runs: Sequence[Run]) -> Section | None:
    """The resolved config and the records of each run, folded."""
    folds = []
    for run in runs:
        files = {"config.yaml": run.config, **run.records}
        texts = [(name, text.rstrip()) for name, text in files.items() if text]
        folds.append(Fold(run.name, _about(run), render("records.html", texts=texts)))
    return section("Provenance", render("folds.html", folds=folds) if folds else None)


def _about(run: Run) -> str:
    return (
        stated(run.tier, 1)
        if run.seed is None
        else f"{run.tier + ' tier' if run.tier else 'no tier named'}, seed {run.seed}"
    )


def _points(run: Run, split: str) -> dict[str, tuple[tuple[float, float], ...]]:
    """The points of every metric that a run logged for a split."""
    found: dict[str, list[tuple[float, float]]] = {}
    for measured in run.measurements:
        if measured.split == split:
            for metric, value in measured.values.items():
                if metric not in _UNDRAWN:
                    found.setdefault(metric, []).append((measured.step, value))
    return {metric: tuple(points) for metric, points in found.items()}


def _kind(metric: str, lines: Sequence[Line]) -> Literal["share", "amount", "loss"]:
    """How a metric is drawn; one that no name tells is a share when all its values are."""
    if "loss" in metric:
        return "loss"
    shares = all(0 <= value <= 1 for line in lines for _, value in line.points)
    return "share" if shares and metric not in _PACE else "amount"


def _type(prediction: Prediction) -> str:
    return prediction.type


def _language(prediction: Prediction) -> str:
    return prediction.language
