"""The sections of a page, each made from what was read; a section that has nothing to show is None."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from mm_kptm.report.arms import ReportedArm, breakdown, splits
from mm_kptm.report.comparison import Claim
from mm_kptm.report.markup import Child, Markup, join, tag
from mm_kptm.report.plots import Line, Panel, curves
from mm_kptm.report.results import crossed_table, kinds_table, mistakes_table
from mm_kptm.report.runs import Prediction, Run
from mm_kptm.report.scenes import gallery
from mm_kptm.report.tables import counted, percent, stated

_PACE = ("lr", "rows_per_s")  # measured for the machine's sake; drawn last
_UNDRAWN = frozenset({"n", "epoch", "seconds"})


def section(title: str, *children: Child, note: str = "") -> Markup | None:
    """A titled part of the page."""
    content = join(*children)
    if not content:
        return None
    return tag("section", tag("h2", title), tag("p", note, class_="note") if note else None, content)


def claims(made: Sequence[Claim], stands: str) -> Markup | None:
    """What the comparison set out to show, and whether it did."""
    if not made:
        return None
    lines = [
        tag(
            "li",
            tag("span", "✓ holds" if claim.holds else "✗ fails", class_="right" if claim.holds else "wrong"),
            tag("span", claim.text, class_="text"),
            tag("span", tag("b", percent(claim.value)), f" {claim.sense} {percent(claim.bound)}", class_="figure"),
        )
        for claim in made
    ]
    return section("Claims", tag("ul", lines, class_="claims"), note=f"In per cent; {stands}.")


def learning(arms: Sequence[ReportedArm], stands: str) -> Markup | None:
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
    return section("Learning curves", tag("div", drawn, class_="panels"), note=note)


def breakdowns(arms: Sequence[ReportedArm], stands: str, generator: np.random.Generator) -> Markup | None:
    """Accuracy by question type and by language; for a single arm also by both at once, and its mistakes."""
    parts: list[Child] = []
    for split in splits(arms):
        for name, kind in (("question type", _type), ("language", _language)):
            found = [breakdown(arm, split, kind, generator) for arm in arms]
            parts.append(kinds_table(split, name, arms, found, stands))
        if len(arms) == 1:
            parts.append(crossed_table(arms[0], split, stands, generator))
            parts.append(mistakes_table(arms[0], split, stands))
    return section("Breakdown", parts)


def galleries(runs: Sequence[Run]) -> Markup | None:
    """The examples of the runs; of several runs only the first lies open."""
    shown = [run for run in runs if run.gallery]
    note = (
        "Boxes and bars are relative to the largest share of attention in their list; figures are the shares. "
        "● marks a fact the question needs, ○ one it does not."
    )
    if len(shown) == 1:
        return section("Examples", gallery(shown[0].gallery), note=f"{note} From a run of {_about(shown[0])}.")
    folds = [
        tag(
            "details",
            tag("summary", tag("b", run.name), f" {counted(len(run.gallery), 'example')}; {_about(run)}"),
            gallery(run.gallery),
            open=place == 0,
        )
        for place, run in enumerate(shown)
    ]
    return section("Examples", folds, note=note)


def provenance(runs: Sequence[Run]) -> Markup | None:
    """The resolved config and the records of each run, folded."""
    folds = []
    for run in runs:
        files = {"config.yaml": run.config, **run.records}
        texts = [join(tag("h4", name), tag("pre", text.rstrip())) for name, text in files.items() if text]
        folds.append(
            tag(
                "details",
                tag("summary", tag("b", run.name), f" {_about(run)}"),
                texts or tag("p", "This folder holds no config.yaml."),
            )
        )
    return section("Provenance", folds)


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
