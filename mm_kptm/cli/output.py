"""Output of commands: text for readers or one JSON value for machines, never both."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence

LINE = 100  #: longest list that is printed on one line, in characters


def add_json(verb: argparse.ArgumentParser) -> None:
    """Add the option ``--json``."""
    verb.add_argument("--json", action="store_true", help="print one JSON value and nothing else on stdout")


def print_json(value: object) -> None:
    """Print one JSON value; dataclasses, paths and sets become plain values."""
    from mm_kptm.config import plain

    print(json.dumps(plain(value), ensure_ascii=False, indent=2))


def print_rows(rows: Sequence[Mapping[str, object]]) -> None:
    """Print rows with the same keys as aligned columns with headings."""
    from mm_kptm.report.tables import aligned

    if rows:
        cells = [[str(key) for key in rows[0]], *([_cell(value) for value in row.values()] for row in rows)]
        print("\n".join(aligned(cells, left=len(cells[0]))))


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
