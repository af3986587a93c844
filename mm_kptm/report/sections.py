"""Sections of the HTML page; a section without content is None."""

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
from mm_kptm.report.tables import TOO_SMALL, counted, stated
from mm_kptm.report.templating import render

_PACE = ("lr", "rows_per_s")  # metrics of speed rather than quality; drawn last
_UNDRAWN = frozenset({"n", "epoch", "seconds"})


@dataclass(frozen=True)
class Section:
    """Titled section of the page."""

    title: str
    content: Markup
    note: str = ""


@dataclass(frozen=True)
class Fold:
    """Collapsible part of a section."""

    name: str
    about: str
    content: Markup
    open: bool = False


def section(title: str, *content: Markup | None, note: str = "") -> Section | None:
    """Build a section; None without content."""
    joined = Markup("\n").join(part for part in content if part)
    return Section(title, joined, note) if joined else None


def claims(made: Sequence[Claim], stands: str) -> Section | None:
    """Section of the claims and whether they hold."""
    if not made:
        return None
    unseen = f" {TOO_SMALL}" if any(claim.holds is None for claim in made) else ""
    return section("Claims", render("claims.html", claims=made), note=f"In per cent; {stands}.{unseen}")


def learning(arms: Sequence[ReportedArm], stands: str) -> Section | None:
    """Section of learning curves: one panel per metric, one line per run and split."""
    logged = {measured.split for arm in arms for run in arm.runs for measured in run.measurements}
    kinds = sorted(logged, key=lambda split: (split != "train", split))
    panels: dict[str, list[Line]] = {}
    for colour, arm in enumerate(arms):
        for run in arm.runs:
            for dashes, split in enumerate(kinds):
                for metric, points in _points(run, split).items():
                    line = (
                        Line(split, dashes, 0, points)  # with one arm, colours distinguish splits
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
    """Section of accuracy by question type and by language; for one arm also by both, and its mistakes."""
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
    """Section of example galleries; with several runs only the first is unfolded."""
    shown = [run for run in runs if run.gallery]
    note = (
        "Boxes and bars are relative to the largest share of attention in their list; figures are the shares. "
        "● marks a fact the question needs, ○ one it does not."
    )
    if len(shown) == 1:
        return section("Examples", gallery(shown[0].gallery), note=f"{note} From a run of {_about(shown[0])}.")
    folds = [
        Fold(run.name, f"{counted(len(run.gallery), 'example')}; {_about(run)}", gallery(run.gallery), open=index == 0)
        for index, run in enumerate(shown)
    ]
    return section("Examples", render("folds.html", folds=folds) if folds else None, note=note)


def provenance(runs: Sequence[Run]) -> Section | None:
    """Section of the resolved config and records of each run, folded."""
    folds = []
    for run in runs:
        files = {"config.yaml": run.config, **run.records}
        texts = [(name, text.rstrip()) for name, text in files.items() if text]
        folds.append(Fold(run.name, _about(run), render("records.html", texts=texts)))
    return section("Provenance", render("folds.html", folds=folds) if folds else None)


def _about(run: Run) -> str:
    return stated(run.tier, 1) if run.seed is None else f"{run.tier + ' tier, ' if run.tier else ''}seed {run.seed}"


def _points(run: Run, split: str) -> dict[str, tuple[tuple[float, float], ...]]:
    """Points (step, value) of every metric that a run logged for a split."""
    found: dict[str, list[tuple[float, float]]] = {}
    for measured in run.measurements:
        if measured.split == split:
            for metric, value in measured.values.items():
                if metric not in _UNDRAWN:
                    found.setdefault(metric, []).append((measured.step, value))
    return {metric: tuple(points) for metric, points in found.items()}


def _kind(metric: str, lines: Sequence[Line]) -> Literal["share", "amount", "loss"]:
    """Kind of y axis of a metric; an unknown metric is a share if all its values lie in [0, 1]."""
    if "loss" in metric:
        return "loss"
    shares = all(0 <= value <= 1 for line in lines for _, value in line.points)
    return "share" if shares and metric not in _PACE else "amount"


def _type(prediction: Prediction) -> str:
    return prediction.type


def _language(prediction: Prediction) -> str:
    return prediction.language
