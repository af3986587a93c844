"""Result tables as HTML: figures and, on a common scale, interval plots."""

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
    """HTML of a table of arms (or of what ``named`` says); hollow marks and faint guides are baselines.

    ``stands`` is the note on tier and seeds.
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
    """HTML table of paired differences between arms."""
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
    """Accuracy by kind of example: strips for one arm, columns for several; None if there is only one kind."""
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
    """Heat map of accuracy by question type and language; None with fewer than two of either."""
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
    """HTML table of the most frequent mistakes."""
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
    """Signed difference in percentage points.

    >>> signed(0.05), signed(-0.05), signed(0.0)
    ('+5.0', '−5.0', '0.0')
    """
    shown = percent(share)
    return shown if shown.startswith(MINUS) or not float(shown) else f"+{shown}"


@dataclass(frozen=True)
class _Head:
    """Column heading."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class _Cell:
    """Table cell: main figure, interval in small type, other text or a plot."""

    text: str = ""
    kind: str = ""
    bold: str = ""
    small: str | None = None
    value: float | None = None  #: darkness of the background, between 0 and 1


@dataclass(frozen=True)
class _Line:
    """Table row with its heading."""

    name: str
    cells: tuple[_Cell, ...]
    kind: str = ""


def _wide(title: str, about: str, head: Sequence[_Head], rows: Sequence[_Line]) -> Markup:
    return render("table.html", title=title, about=about, head=head, rows=rows)


def _figure(shown: str) -> _Cell:
    return _Cell(shown, kind="figure")


def _shaded(found: Interval | None) -> _Cell:
    """Cell with value and interval, shaded by the value."""
    if found is None:
        return _Cell(kind="figure")
    return _Cell(kind="figure", bold=percent(found.value), small=interval(found.low, found.high), value=found.value)


def _guides(rows: Sequence[Row], metric: str) -> list[float]:
    return [row.value for row in rows if row.baseline and row.metric == metric]


def _domain(rows: Sequence[Row]) -> tuple[float, float]:
    """Scale limits of the rows: (0, 1), or (-1, 1) if a value is negative."""
    lowest = min((row.value if row.low is None else row.low for row in rows), default=0.0)
    return (-1.0 if lowest < 0 else 0.0), 1.0
