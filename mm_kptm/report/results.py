"""Result tables as HTML: every row has its figures and, on one scale for the table, their drawing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from mm_kptm.report.arms import Contrast, ReportedArm, breakdown, confusions, scored
from mm_kptm.report.comparison import Row, Table
from mm_kptm.report.plots import strip, strip_scale
from mm_kptm.report.runs import Prediction
from mm_kptm.report.statistics import Interval
from mm_kptm.report.tables import MINUS, chance, counted, interval, metrics, percent
from mm_kptm.report.templating import render


def table(given: Table, stands: str, *, named: str = "arm") -> Markup:
    """A table of arms, or of what ``named`` calls its rows; hollow marks and faint guides are baselines.

    ``stands`` says the tier and the seeds.
    """
    several = len(metrics(given.rows)) > 1
    spread = any(row.std is not None for row in given.rows)
    sure = any(row.low is not None for row in given.rows)
    tested = any(row.p is not None for row in given.rows)
    low, high = _domain(given.rows)
    head = [
        _Head(named),
        *([_Head("metric")] if several else []),
        _Head("value", "figure"),
        *([_Head("std", "figure")] if spread else []),
        *([_Head("95 % interval", "figure")] if sure else []),
        *([_Head("p", "figure")] if tested else []),
        _Head(strip_scale(low, high), "drawn"),
        _Head("n", "figure"),
    ]
    rows = [
        _Line(
            row.arm,
            (
                *([_Cell(row.metric)] if several else ()),
                _Cell(kind="figure", bold=percent(row.value)),
                *([_figure("" if row.std is None else f"± {percent(row.std)}")] if spread else ()),
                *([_figure(interval(row.low, row.high))] if sure else ()),
                *([_figure("" if row.p is None else chance(row.p))] if tested else ()),
                _Cell(strip(row, low, high, _guides(given.rows, row.metric)), kind="drawn"),
                _figure("" if row.n is None else f"{row.n:,}"),
            ),
            "baseline" if row.baseline else "",
        )
        for row in given.rows
    ]
    measured = "In" if several or not given.rows else f"{given.rows[0].metric[:1].upper()}{given.rows[0].metric[1:]} in"
    note = f"{given.note.rstrip('.')}. " if given.note else ""
    return _wide(given.title, f"{note}{measured} per cent; {stands}.", head, rows)


def contrast_table(found: Sequence[Contrast], stands: str) -> Markup | None:
    """Paired differences between arms."""
    if not found:
        return None
    rows = [
        _Line(
            f"{contrast.arm} over {contrast.reference}",
            (
                _Cell(contrast.split),
                _Cell(kind="figure", bold=signed(contrast.gap.value)),
                _figure(f"{signed(contrast.gap.low)} to {signed(contrast.gap.high)}"),
                _figure(chance(contrast.p)),
                _figure(f"{contrast.gap.n:,}"),
            ),
        )
        for contrast in found
    ]
    about = (
        f"On the examples both arms answered, in points; {stands}. Intervals by paired bootstrap over groups, "
        "p by permutation of groups, corrected after Holm."
    )
    names = ("difference", "95 % interval", "p", "n")
    head = [_Head("arms"), _Head("split"), *(_Head(name, "figure") for name in names)]
    return _wide("Paired differences", about, head, rows)


def kinds_table(
    split: str, kind: str, arms: Sequence[ReportedArm], found: Sequence[Mapping[str, Interval]], stands: str
) -> Markup | None:
    """Accuracy by kind of example: strips for one arm, arms side by side for several. One kind is no breakdown."""
    title = f"Split {split}, by {kind}"
    names = sorted({name for cells in found for name in cells})
    if len(names) < 2:
        return None
    if len(arms) == 1:
        rows = [Row(name, "accuracy", cell.value, cell.low, cell.high, cell.n) for name, cell in found[0].items()]
        return table(Table(title, tuple(rows)), stands, named=kind)
    lines = [_Line(name, tuple(_shaded(cells.get(name)) for cells in found), "cells") for name in names]
    head = [_Head(kind), *(_Head(arm.name, "figure") for arm in arms)]
    return _wide(title, f"Accuracy in per cent, with 95 % intervals; {stands}.", head, lines)


def crossed_table(arm: ReportedArm, split: str, stands: str, generator: np.random.Generator) -> Markup | None:
    """Question types by languages, shaded by accuracy; needs two of each."""
    items = scored(arm, split)
    languages = sorted({item.prediction.language for item in items} - {""})
    types = sorted({item.prediction.type for item in items} - {""})
    if len(languages) < 2 or len(types) < 2:
        return None

    def both(prediction: Prediction) -> str:
        return f"{prediction.type}\n{prediction.language}"

    found = breakdown(arm, split, both, generator)
    rows = [_Line(kind, tuple(_shaded(found.get(f"{kind}\n{name}")) for name in languages), "cells") for kind in types]
    head = [_Head("question type"), *(_Head(name, "figure") for name in languages)]
    return _wide(
        f"Split {split}, by question type and language",
        f"Accuracy in per cent, with 95 % intervals; {stands}.",
        head,
        rows,
    )


def mistakes_table(arm: ReportedArm, split: str, stands: str) -> Markup | None:
    """The commonest mistakes."""
    rows = [
        _Line(target, (_Cell(answer or "(none)"), _figure(f"{times:,}")))
        for target, answer, times in confusions(arm, split)
    ]
    if not rows:
        return None
    about = f"Target, and what was answered instead; {stands}, {counted(len(arm.runs), 'run')} added up."
    head = [_Head("target"), _Head("answer"), _Head("times", "figure")]
    return _wide(f"Split {split}, commonest mistakes", about, head, rows)


def signed(share: float) -> str:
    """A difference in points, with its sign.

    >>> signed(0.05), signed(-0.05), signed(0.0)
    ('+5.0', '−5.0', '0.0')
    """
    shown = percent(share)
    return shown if shown.startswith(MINUS) or not float(shown) else f"+{shown}"


@dataclass(frozen=True)
class _Head:
    """The heading of a column."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class _Cell:
    """A cell: its main figure, its interval in small letters, and other text or a drawing."""

    text: str = ""
    kind: str = ""
    bold: str = ""
    small: str | None = None
    value: float | None = None  #: how dark its ground is, between 0 and 1


@dataclass(frozen=True)
class _Line:
    """A row under its own heading."""

    name: str
    cells: tuple[_Cell, ...]
    kind: str = ""


def _wide(title: str, about: str, head: Sequence[_Head], rows: Sequence[_Line]) -> Markup:
    return render("table.html", title=title, about=about, head=head, rows=rows)


def _figure(shown: str) -> _Cell:
    return _Cell(shown, kind="figure")


def _shaded(found: Interval | None) -> _Cell:
    """A value over its interval, on a ground as dark as the value is high."""
    if found is None:
        return _Cell(kind="figure")
    return _Cell(kind="figure", bold=percent(found.value), small=interval(found.low, found.high), value=found.value)


def _guides(rows: Sequence[Row], metric: str) -> list[float]:
    return [row.value for row in rows if row.baseline and row.metric == metric]


def _domain(rows: Sequence[Row]) -> tuple[float, float]:
    """From 0 to 1; from -1 where something lies below zero."""
    lowest = min((row.value if row.low is None else row.low for row in rows), default=0.0)
    return (-1.0 if lowest < 0 else 0.0), 1.0
