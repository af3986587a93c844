"""Sections of the HTML page; a section without content is None."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from markupsafe import Markup

from mm_kptm.report.arms import ReportedArm, breakdown, splits
from mm_kptm.report.comparison import Claim, Table
from mm_kptm.report.gallery import GalleryExample
from mm_kptm.report.plots import Line, Panel, curves
from mm_kptm.report.results import crossed_table, kinds_table, mistakes_table, table
from mm_kptm.report.runs import Prediction, Run
from mm_kptm.report.scenes import gallery
from mm_kptm.report.tables import TOO_SMALL, counted, stated
from mm_kptm.report.templating import render
from mm_kptm.report.uses import SWAPPED, agreement, uses

_PACE = ("lr", "rows_per_s", "mfu", "peak_memory_gb")  # metrics of speed rather than quality; drawn last
_UNDRAWN = frozenset({"n", "epoch", "seconds"})


@dataclass(frozen=True)
class Section:
    """Titled section of the page."""

    title: str
    content: Markup
    note: str = ""

    @property
    def anchor(self) -> str:
        """Name of the section in addresses."""
        return self.title.lower().replace(" ", "-")


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


def facts_swapped(
    arms: Sequence[ReportedArm], stands: str, generator: np.random.Generator, *, agreement_alone: bool = False
) -> Section | None:
    """Section of knowledge use and of answers that stay the same with swapped facts.

    With ``agreement_alone``, knowledge use is left out, for pages that have it among their results.
    """
    tables: list[Table | None] = []
    for split in splits(arms):
        if split.endswith(SWAPPED):
            tables += [] if agreement_alone else [uses(arms, split, generator)]
            tables.append(agreement(arms, split, generator))
    return section("Swapped facts", *(table(each, stands) for each in tables if each is not None))


def examples(runs: Sequence[Run]) -> Section | None:
    """Section of examples of every run and split; the first fold is open.

    Where an evaluation recorded none, the answers stand alone.
    """
    note = (
        "Of every split the first answers that are wrong and the first that are right. Attention is that of the first "
        "token in the last layer, mean over heads. Boxes and bars are relative to the largest share in their list; "
        "figures are the shares. ● marks a fact the question needs, ○ one it does not."
    )
    folds: list[Fold] = []
    for run in runs:
        for split in sorted(run.examples.keys() | run.predictions.keys()):
            shown = run.examples.get(split) or answers_alone(run.predictions[split])
            name = f"{run.name}, {split}"
            about = f"{counted(len(shown), 'example')}; {_about(run)}"
            folds.append(Fold(name, about, gallery(shown), open=not folds))
    return section("Examples", render("folds.html", folds=folds) if folds else None, note=note)


def answers_alone(predictions: Sequence[Prediction], count: int = 6) -> tuple[GalleryExample, ...]:
    """The first wrong and the first right answers of a split, of whose inputs nothing was recorded."""
    wrong = [one for one in predictions if one.correct is not None and one.correct < 0.5]
    right = [one for one in predictions if one.correct is None or one.correct >= 0.5]
    most_wrong = wrong[: max(count // 2, count - len(right))]
    chosen = [*most_wrong, *right[: count - len(most_wrong)]]
    return tuple(
        GalleryExample(one.id, "", one.answer, one.target, one.correct, language=one.language, type=one.type)
        for one in chosen
    )


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
