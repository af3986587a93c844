"""Inline SVG plots: learning curves, and the strip that shows an interval in a table row.

Colours are CSS variables, so that plots follow the light, dark and print styles of the page.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from mm_kptm.report.comparison import Row
from mm_kptm.report.tables import interval, percent
from mm_kptm.report.templating import render

COLOURS = 8
_DASHES = ("", "5 3", "1.5 3", "8 3 1.5 3")
_WIDTH, _HEIGHT = 360.0, 210.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 18.0, 10.0, 26.0
_STRIP_EDGE = 2.0  # margin at either end, in per cent of the strip's width; must match .scale in the CSS
_POINTS = 240  # most points of a curve; more are averaged


@dataclass(frozen=True)
class Line:
    """Curve: label, colour of its arm, dash pattern of its split, and points (step, value)."""

    label: str
    colour: int
    dashes: int
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Panel:
    """Plot of the curves of one metric.

    The y axis of a share runs from 0 to 100 per cent, that of an amount starts at zero, that of a loss fits the data.
    """

    title: str
    lines: tuple[Line, ...]
    kind: Literal["share", "amount", "loss"]


@dataclass(frozen=True)
class Scale:
    """Linear map from values to coordinates."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start)


def curves(panel: Panel) -> Markup:
    """Draw a panel: axes, one path per line, and a legend with the last values.

    Lines with the same label are seeds of one arm and share a legend entry with the mean of their last values.
    """
    points = [point for line in panel.lines for point in line.points]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    low, high = {"share": (0.0, 1.0), "amount": (min(0.0, *ys), max(ys)), "loss": (min(ys), max(ys))}[panel.kind]
    if low == high:
        low, high = low - 0.5, high + 0.5
    marks = ticks(low, high, 4)
    across = Scale(min(0.0, *xs), max(xs) if max(xs) > 0 else 1.0, _LEFT, _WIDTH - _RIGHT)
    up = Scale(marks[0], marks[-1], _HEIGHT - _BOTTOM, _TOP)
    share = panel.kind == "share"
    steps = [mark for mark in ticks(across.low, across.high, 4) if mark <= across.high]
    entries: dict[str, list[Line]] = {}
    for line in panel.lines:
        entries.setdefault(line.label, []).append(line)
    key = [
        {"label": label, "last": _shown(sum(x.points[-1][1] for x in lines) / len(lines), share), **_stroke(lines[0])}
        for label, lines in entries.items()
    ]
    return render(
        "curves.html",
        title=panel.title,
        width=_WIDTH,
        height=_HEIGHT,
        left=_LEFT,
        right=_WIDTH - _RIGHT,
        levels=[{"y": up(mark), "text": _shown(mark, share, tick=True)} for mark in marks],
        steps=[{"x": across(mark), "text": f"{mark:,.0f}"} for mark in steps],
        paths=[
            {"places": [(across(x), up(y)) for x, y in thinned(line.points)], **_stroke(line)} for line in panel.lines
        ],
        key=key,
    )


def _stroke(line: Line) -> dict[str, str]:
    return {"colour": f"c{line.colour % COLOURS}", "dashes": _DASHES[line.dashes % len(_DASHES)]}


def strip(row: Row, low: float, high: float, guides: Sequence[float]) -> Markup:
    """Draw the interval of a table row on the common scale of the table; faint guides mark baselines.

    Coordinates are per cents of the width, so that the strip fills its column without distorting its marks.
    """
    across = Scale(low, high, _STRIP_EDGE, 100 - _STRIP_EDGE)
    bounds = interval(row.low, row.high)
    return render(
        "strip.html",
        label=f"{percent(row.value)} per cent{bounds and f', from {bounds}'}",
        ends=(across(low), across(high)),
        zero=across(0) if low < 0 else None,
        guides=[across(guide) for guide in guides],
        whisker=None if row.low is None or row.high is None else (across(row.low), across(row.high)),
        value=across(row.value),
        mark="hollow" if row.baseline else "dot",
    )


def strip_scale(low: float, high: float) -> Markup:
    """Column heading of strips: both ends and the middle of the scale."""
    marks = "".join(f"<span>{percent(mark, 0)}</span>" for mark in (low, (low + high) / 2, high))
    return Markup(f'<span class="scale">{marks}</span>')


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers from at or below ``low`` to at or above ``high``, roughly ``about`` steps apart (Heckbert 1990).

    >>> ticks(0.0, 1.0, 4)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    >>> ticks(3.1, 4.4, 4)
    [3.0, 3.5, 4.0, 4.5]
    """
    rough = (high - low) / about
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor * 1.5 >= rough)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(count * step, 12) for count in range(first, last + 1)]


def thinned(points: Sequence[tuple[float, float]], most: int = _POINTS) -> list[tuple[float, float]]:
    """Downsample to at most ``most`` points by averaging neighbours; the last point is exact."""
    size = math.ceil(len(points) / most)
    if size <= 1:
        return list(points)
    blocks = [points[start : start + size] for start in range(0, len(points), size)]
    means = [(sum(x for x, _ in block) / len(block), sum(y for _, y in block) / len(block)) for block in blocks]
    return [*means[:-1], points[-1]]


def _shown(value: float, share: bool, tick: bool = False) -> str:
    if share:
        return f"{percent(value, 0 if tick else 1)} %"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
