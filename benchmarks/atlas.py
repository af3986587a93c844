"""Write what a demonstration on Atlas measured into docs/atlas-results.json and the tables of docs/atlas.md.

Run from the root of the repository::

    mm-kptm demo --suite atlas --out atlas-demo
    python -m benchmarks.atlas atlas-demo
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from mm_kptm.report import Comparison, Row, Table, as_json, read_comparison
from mm_kptm.suites.atlas.data.atlas import EMBEDDED

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- tables: python -m benchmarks.atlas DEMO -->", "<!-- end of tables -->"


def results(comparison: Comparison) -> dict[str, Any]:
    """The leaderboard: what was measured on which data, beside its controls."""
    values = as_json(comparison)
    if not isinstance(values, dict):
        raise TypeError("a comparison is written as an object")
    sources = json.loads((EMBEDDED / "sources.json").read_text(encoding="utf-8"))
    kept = {key: values[key] for key in ("tier", "seeds", "claims", "tables")}
    return {"suite": "atlas", "data": {"version": sources["version"], **sources["counts"]}, **kept}


def markdown(comparison: Comparison) -> str:
    """Every table and claim in per cent, controls last."""
    lines = [f"Tier `{comparison.tier}`, seeds: {comparison.seeds}.", ""]
    lines += [markdown_table(table) for table in comparison.tables]
    lines += ["**Bounds.**", "", "| | value | bound | |", "|---|---|---|---|"]
    for claim in comparison.claims:
        lines.append(
            f"| {claim.text} | {_share(claim.value)} | {claim.sense} {_share(claim.bound)} | {claim.verdict} |"
        )
    return "\n".join(lines) + "\n"


def markdown_table(table: Table) -> str:
    """One table in per cent, controls last, and an empty line behind it."""
    lines = [f"**{table.title}.** {table.note}", "", "| | | value | 95 % | std |", "|---|---|---|---|---|"]
    lines += [_line(row) for row in sorted(table.rows, key=lambda row: row.baseline)]
    return "\n".join(lines) + "\n"


def write_section(page: Path, begin: str, end: str, text: str) -> None:
    """Replace what stands between two comments of a page."""
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    page.write_text(f"{before}{begin}\n\n{text}\n{end}{rest.partition(end)[2]}", encoding="utf-8")


def _line(row: Row) -> str:
    between = "" if row.low is None or row.high is None else f"{_share(row.low)} to {_share(row.high)}"
    std = "" if row.std is None else _share(row.std)
    name = f"*{row.arm}*" if row.baseline else row.arm
    return f"| {name} | {row.metric} | {_share(row.value)} | {between} | {std} |"


def _share(value: float) -> str:
    return f"{100 * value:.2f}" if abs(value) < 0.01 else f"{100 * value:.1f}"


def main() -> None:
    """Read the folder of a demonstration, and write the two files."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("demo", type=Path, metavar="DEMO", help="the folder of `mm-kptm demo --suite atlas`")
    parser.add_argument("--docs", type=Path, default=DOCS, help="the folder of atlas.md (default: docs)")
    options = parser.parse_args()
    comparison = read_comparison(options.demo)
    path = options.docs / "atlas-results.json"
    known = json.loads(path.read_text(encoding="utf-8"))
    kept = {key: known[key] for key in ("tasks_version", "tasks") if key in known}
    text = json.dumps({**results(comparison), **kept}, indent=1, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8")
    write_section(options.docs / "atlas.md", BEGIN, END, markdown(comparison))


if __name__ == "__main__":
    main()
