"""Result tables as HTML: every row has its figures and, on one scale for the table, their drawing."""

from collections.abc import Mapping, Sequence

import numpy as np

from mm_kptm.report.arms import Contrast, ReportedArm, breakdown, confusions, scored
from mm_kptm.report.comparison import Row, Table
from mm_kptm.report.markup import Child, Markup, tag
from mm_kptm.report.plots import strip, strip_scale
from mm_kptm.report.runs import Prediction
from mm_kptm.report.statistics import Interval
from mm_kptm.report.tables import MINUS, chance, counted, interval, metrics, percent


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
        _head(named),
        _head("metric") if several else None,
        _head("value", "figure"),
        _head("std", "figure") if spread else None,
        _head("95 % interval", "figure") if sure else None,
        _head("p", "figure") if tested else None,
        _head(strip_scale(low, high), "drawn"),
        _head("n", "figure"),
    ]
    body = [
        tag(
            "tr",
            tag("th", row.arm, scope="row"),
            tag("td", row.metric) if several else None,
            _figure(tag("b", percent(row.value))),
            _figure("" if row.std is None else f"± {percent(row.std)}") if spread else None,
            _figure(interval(row.low, row.high)) if sure else None,
            _figure("" if row.p is None else chance(row.p)) if tested else None,
            tag("td", strip(row, low, high, _guides(given.rows, row.metric)), class_="drawn"),
            _figure("" if row.n is None else f"{row.n:,}"),
            class_="baseline" if row.baseline else None,
        )
        for row in given.rows
    ]
    measured = "In" if several or not given.rows else f"{given.rows[0].metric[:1].upper()}{given.rows[0].metric[1:]} in"
    note = f"{given.note.rstrip('.')}. " if given.note else ""
    return _wide(given.title, f"{note}{measured} per cent; {stands}.", head, body)


def contrast_table(found: Sequence[Contrast], stands: str) -> Markup | None:
    """Paired differences between arms."""
    if not found:
        return None
    body = [
        tag(
            "tr",
            tag("th", f"{contrast.arm} over {contrast.reference}", scope="row"),
            tag("td", contrast.split),
            _figure(tag("b", signed(contrast.gap.value))),
            _figure(f"{signed(contrast.gap.low)} to {signed(contrast.gap.high)}"),
            _figure(chance(contrast.p)),
            _figure(f"{contrast.gap.n:,}"),
        )
        for contrast in found
    ]
    about = (
        f"On the examples both arms answered, in points; {stands}. Intervals by paired bootstrap over groups, "
        "p by permutation of groups, corrected after Holm."
    )
    names = ("difference", "95 % interval", "p", "n")
    return _wide(
        "Paired differences", about, [_head("arms"), _head("split"), *(_head(n, "figure") for n in names)], body
    )


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
    body = [
        tag("tr", tag("th", name, scope="row"), [_cell(cells.get(name)) for cells in found], class_="cells")
        for name in names
    ]
    head = [_head(kind), *(_head(arm.name, "figure") for arm in arms)]
    return _wide(title, f"Accuracy in per cent, with 95 % intervals; {stands}.", head, body)


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
    body = [
        tag(
            "tr",
            tag("th", kind, scope="row"),
            [_cell(found.get(f"{kind}\n{name}")) for name in languages],
            class_="cells",
        )
        for kind in types
    ]
    head = [_head("question type"), *(_head(name, "figure") for name in languages)]
    return _wide(
        f"Split {split}, by question type and language",
        f"Accuracy in per cent, with 95 % intervals; {stands}.",
        head,
        body,
    )


def mistakes_table(arm: ReportedArm, split: str, stands: str) -> Markup | None:
    """The commonest mistakes."""
    body = [
        tag("tr", tag("th", target, scope="row"), tag("td", answer or "(none)"), _figure(f"{times:,}"))
        for target, answer, times in confusions(arm, split)
    ]
    if not body:
        return None
    about = f"Target, and what was answered instead; {stands}, {counted(len(arm.runs), 'run')} added up."
    head = [_head("target"), _head("answer"), _head("times", "figure")]
    return _wide(f"Split {split}, commonest mistakes", about, head, body)


def signed(share: float) -> str:
    """A difference in points, with its sign.

    >>> signed(0.05), signed(-0.05), signed(0.0)
    ('+5.0', '−5.0', '0.0')
    """
    shown = percent(share)
    return shown if shown.startswith(MINUS) or not float(shown) else f"+{shown}"


def _wide(title: str, about: str, head: Child, body: Child) -> Markup:
    """A table that scrolls by itself where the page is narrower; its caption does not scroll along."""
    drawn = tag("table", tag("thead", tag("tr", head)), tag("tbody", body))
    return tag("figure", tag("figcaption", tag("b", title), " ", about), tag("div", drawn, class_="wide", tabindex="0"))


def _head(name: str, kind: str | None = None) -> Markup:
    return tag("th", name, scope="col", class_=kind)


def _figure(shown: str) -> Markup:
    return tag("td", shown, class_="figure")


def _cell(found: Interval | None) -> Markup:
    """A value over its interval, on a ground as dark as the value is high."""
    if found is None:
        return tag("td", class_="figure")
    ends = tag("small", interval(found.low, found.high))
    return tag("td", tag("b", percent(found.value)), ends, class_="figure", style=f"--v:{found.value:.3f}")


def _guides(rows: Sequence[Row], metric: str) -> list[float]:
    return [row.value for row in rows if row.baseline and row.metric == metric]


def _domain(rows: Sequence[Row]) -> tuple[float, float]:
    """From 0 to 1; from -1 where something lies below zero."""
    lowest = min((row.value if row.low is None else row.low for row in rows), default=0.0)
    return (-1.0 if lowest < 0 else 0.0), 1.0
