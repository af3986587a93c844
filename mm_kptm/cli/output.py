"""Output of commands: text for readers or one JSON value for machines, never both."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence

LINE = 100  #: longest list that is printed on one line, in characters
GAP = 2  #: columns between two columns of a table
MIN_COLUMN = 8  #: a column is never cut below this


def add_json(verb: argparse.ArgumentParser) -> None:
    """Add the option ``--json``."""
    verb.add_argument("--json", action="store_true", help="print one JSON value and nothing else on stdout")


def print_json(value: object) -> None:
    """Print one JSON value; dataclasses, paths and sets become plain values."""
    from mm_kptm.config import plain

    print(json.dumps(plain(value), ensure_ascii=False, indent=2))


def print_rows(rows: Sequence[Mapping[str, object]], *, limit: int | None = None) -> None:
    """Print rows with the same keys as aligned columns with headings.

    Args:
        rows: that have the same keys.
        limit: longest line, in terminal columns; longer cells are cut, but never those of the first column.
    """
    from mm_kptm.report.tables import aligned

    if not rows:
        return
    cells = [[str(key) for key in rows[0]], *([_cell(value) for value in row.values()] for row in rows)]
    if limit is None or not (cut := _cut(cells, limit)):
        print("\n".join(aligned(cells, left=len(cells[0]))))
    else:
        print("\n".join(aligned(cut, left=len(cells[0]))))
        print(f"cells are cut to fit {limit} columns; --wide shows all, --json too", file=sys.stderr)


def _cut(cells: Sequence[Sequence[str]], limit: int) -> list[list[str]]:
    """``cells`` with the longest columns but the first shortened; empty where all fit."""
    from mm_kptm.report.tables import width

    widths = [max(width(row[number]) for row in cells) for number in range(len(cells[0]))]
    gaps = GAP * (len(widths) - 1)
    if sum(widths) + gaps <= limit or len(widths) == 1:
        return []
    while sum(widths) + gaps > limit and max(widths[1:]) > MIN_COLUMN:
        widths[widths.index(max(widths[1:]), 1)] -= 1
    return [[_shortened(cell, wide) for cell, wide in zip(row, widths, strict=True)] for row in cells]


def _shortened(text: str, wide: int) -> str:
    from mm_kptm.report.tables import width

    if width(text) <= wide:
        return text
    while width(text) > wide - 1:
        text = text[:-1]
    return text.rstrip(" ,") + "…"


def print_pairs(pairs: Mapping[str, object], indent: str = "") -> None:
    """Print names and values, one pair per line; mappings and long lists are indented."""
    wide = max((len(name) for name in pairs), default=0)
    for name, value in pairs.items():
        if isinstance(value, Mapping):
            print(f"{indent}{name}")
            print_pairs(value, indent + "  ")
        elif isinstance(value, list) and len(_cell(value)) > LINE:
            print("\n".join([f"{indent}{name}", *(f"{indent}  {_cell(item)}" for item in value)]))
        else:
            print(f"{indent}{name:<{wide}}  {_cell(value)}".rstrip())


@contextlib.contextmanager
def only_json(wanted: bool) -> Iterator[None]:
    """Context manager: if ``wanted``, redirect prints of libraries to stderr, so that stdout is one JSON value."""
    with contextlib.redirect_stdout(sys.stderr) if wanted else contextlib.nullcontext():
        yield


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_cell, value))
    return "" if value is None else str(value)
