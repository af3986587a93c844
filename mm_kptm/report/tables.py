"""Terminal tables: aligned text columns, as wide as their content."""

import unicodedata
from collections.abc import Sequence

from mm_kptm.report.comparison import Claim, Comparison, Row, Table

MINUS = "\u2212"
TOO_SMALL = (
    "Too small to show: this was trained too little for the effect, or for the effect that a control belongs to; it is "
    "neither confirmed nor refuted. A larger tier shows it."
)


def percent(share: float, digits: int = 1) -> str:
    """Share in per cent, with a Unicode minus and no sign on zero.

    >>> percent(0.8125), percent(-0.031), percent(-0.0001)
    ('81.2', '−3.1', '0.0')
    """
    shown = f"{abs(share) * 100:.{digits}f}"
    return MINUS + shown if share < 0 and float(shown) else shown


def interval(low: float | None, high: float | None) -> str:
    """Interval limits in per cent, empty if there are none."""
    return "" if low is None or high is None else f"{percent(low)} to {percent(high)}"


def chance(p: float) -> str:
    """P value with three digits, or ``< 0.001``.

    >>> chance(0.0421), chance(0.0002)
    ('0.042', '< 0.001')
    """
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def counted(n: int, noun: str) -> str:
    """Number with its noun, singular or plural.

    >>> counted(1, "seed"), counted(3, "seed")
    ('1 seed', '3 seeds')
    """
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def stated(tier: str, seeds: int) -> str:
    """Tier, where there is one, and number of seeds in words, shown beside every result.

    >>> stated("tiny", 2), stated("", 1)
    ('tiny tier, 2 seeds', '1 seed')
    """
    return f"{tier + ' tier, ' if tier else ''}{counted(seeds, 'seed')}"


def metrics(rows: Sequence[Row]) -> list[str]:
    """Metrics of the rows, in order of appearance."""
    return list(dict.fromkeys(row.metric for row in rows))


def comparison_text(comparison: Comparison) -> str:
    """Terminal text of a comparison: tables and claims."""
    parts = [f"{comparison.title} ({stated(comparison.tier, comparison.seeds)}; values in per cent)"]
    parts += [table_text(table) for table in comparison.tables]
    if comparison.claims:
        wide = max(len(claim.verdict) for claim in comparison.claims)
        lines = [claim_text(claim, wide) for claim in comparison.claims]
        unseen = any(claim.holds is None for claim in comparison.claims)
        parts.append("\n".join([*lines, *([TOO_SMALL] if unseen else [])]))
    return "\n\n".join(parts)


def table_text(table: Table) -> str:
    """Terminal text of a table; empty columns are left out."""
    several = len(metrics(table.rows)) > 1
    cells = [("arm", "metric", "value", "std", "95 % interval", "p", "n")]
    cells += [
        (
            f"({row.arm})" if row.baseline else row.arm,
            row.metric if several else "",
            percent(row.value),
            "" if row.std is None else percent(row.std),
            interval(row.low, row.high),
            "" if row.p is None else chance(row.p),
            "" if row.n is None else str(row.n),
        )
        for row in table.rows
    ]
    title = table.title if several or not table.rows else f"{table.title}: {table.rows[0].metric}"
    lines = [title, *([table.note] if table.note else [])]
    return "\n".join([*lines, *(f"  {line}" for line in aligned(cells, left=2))])


def claim_text(claim: Claim, wide: int = 0) -> str:
    """Terminal text of a claim: whether it holds, in ``wide`` columns, its value and its bound."""
    verdict = claim.verdict if claim.holds is not False else claim.verdict.upper()
    return f"{verdict:<{wide}}  {claim.text}: {percent(claim.value)} ({claim.sense} {percent(claim.bound)})"


def aligned(cells: Sequence[Sequence[str]], *, left: int) -> list[str]:
    """Align rows under a heading: the first ``left`` columns to the left, the others to the right.

    A column that is empty below its heading is left out. Widths are in terminal cells, so that wide characters align.
    """
    columns = [
        (number, [row[number] for row in cells])
        for number in range(len(cells[0]))
        if any(row[number] for row in cells[1:])
    ]
    padded = []
    for number, column in columns:
        wide = max(map(width, column))
        padded.append([_pad(cell, wide, at_left=number < left) for cell in column])
    lines = ["  ".join(line).rstrip() for line in zip(*padded, strict=True)]
    return [lines[0], "─" * max(map(width, lines)), *lines[1:]] if lines else []


def width(text: str) -> int:
    """Width of a text in terminal cells: two for wide characters, zero for combining ones."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def _pad(text: str, wide: int, *, at_left: bool) -> str:
    gap = " " * (wide - width(text))
    return text + gap if at_left else gap + text
