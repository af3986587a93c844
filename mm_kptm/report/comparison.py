"""Results of a comparison: tables of arms and the claims they support, stored in ``arms.json``.

Every value here is a share or a difference of shares, between -1 and 1; tables show it in per cent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mm_kptm.errors import UserError
from mm_kptm.io.atomic import write_json
from mm_kptm.io.records import Json, Record, read_json

FILE = "arms.json"


@dataclass(frozen=True)
class Row:
    """One metric of one arm; a row without an interval is computed or counted, not estimated."""

    arm: str
    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None  #: examples
    baseline: bool = False
    std: float | None = None  #: over seeds
    p: float | None = None  #: of a difference between arms, corrected for multiple testing


@dataclass(frozen=True)
class Table:
    """Result table; the note says what is measured on what."""

    title: str
    rows: tuple[Row, ...]
    note: str = ""


@dataclass(frozen=True)
class Claim:
    """Claim with its measured value, its bound, and whether it holds."""

    text: str
    value: float
    bound: float
    holds: bool | None  #: None: the data are too small to show it, or what it is a control of is not shown
    sense: Literal["at least", "at most"]  #: direction of the bound

    @property
    def verdict(self) -> Literal["holds", "fails", "too small to show"]:
        """Whether it holds, in words."""
        return "too small to show" if self.holds is None else "holds" if self.holds else "fails"


@dataclass(frozen=True)
class Comparison:
    """Complete comparison: tables, claims, tier and number of seeds."""

    title: str
    tier: str
    seeds: int
    tables: tuple[Table, ...]
    claims: tuple[Claim, ...] = ()
    runs: tuple[str, ...] = ()  #: run folders, relative to the folder of the comparison
    #: Run folders by arm; empty where the tables summarise runs that are not listed.
    arms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def write_comparison(folder: Path, comparison: Comparison) -> Path:
    """Write ``arms.json`` atomically into a folder."""
    write_json(folder / FILE, as_json(comparison), indent=1)
    return folder / FILE


def read_comparison(folder: Path) -> Comparison:
    """Read the comparison in a folder; ``UserError`` names the location and key of a malformed entry."""
    path = folder / FILE
    record = Record.of(read_json(path), str(path))
    return Comparison(
        title=record.text("title"),
        tier=record.text("tier"),
        seeds=record.count("seeds"),
        tables=tuple(
            Table(
                table.text("title"),
                tuple(_row(row) for row in table.records("rows", allow_none=True)),
                table.text("note", ""),
            )
            for table in record.records("tables", allow_none=True)
        ),
        claims=tuple(_claim(claim) for claim in record.records("claims", allow_none=True)),
        runs=tuple(_folder(item, record.place) for item in record.items("runs")),
        arms=_arms(record),
    )


def as_json(comparison: Comparison) -> Json:
    """Convert a comparison to JSON values; fields that are None are left out."""
    return {
        "title": comparison.title,
        "tier": comparison.tier,
        "seeds": comparison.seeds,
        "claims": [
            {
                "text": claim.text,
                "value": claim.value,
                "bound": claim.bound,
                "sense": claim.sense,
                "holds": claim.holds,
            }
            for claim in comparison.claims
        ],
        "tables": [
            {"title": table.title, "note": table.note, "rows": _rows(table.rows)} for table in comparison.tables
        ],
        "runs": list(comparison.runs),
        **({"arms": {name: list(runs) for name, runs in comparison.arms.items()}} if comparison.arms else {}),
    }


def _claim(record: Record) -> Claim:
    value, bound = _share(record, "value"), _share(record, "bound")
    holds = record.truth("holds") if record.has("holds") else None
    sense = record.text("sense", "at least")
    if sense not in ("at least", "at most"):
        raise UserError(f"{record.place}: 'sense' is 'at least' or 'at most', not '{sense}'")
    return Claim(record.text("text"), value, bound, holds, "at most" if sense == "at most" else "at least")


def _rows(rows: Sequence[Row]) -> Json:
    listed: list[Json] = []
    for row in rows:
        values: dict[str, Json] = {
            "arm": row.arm,
            "metric": row.metric,
            "value": row.value,
            "low": row.low,
            "high": row.high,
            "n": row.n,
            "baseline": row.baseline,
            "std": row.std,
            "p": row.p,
        }
        listed.append({key: value for key, value in values.items() if value is not None})
    return listed


def _row(record: Record) -> Row:
    low, high = (_share(record, key) if record.has(key) else None for key in ("low", "high"))
    value = _share(record, "value")
    if (low is None) != (high is None) or (low is not None and high is not None and not low <= value <= high):
        raise UserError(f"{record.place}: the value {value} must lie between 'low' {low} and 'high' {high}")
    return Row(
        arm=record.text("arm"),
        metric=record.text("metric"),
        value=value,
        low=low,
        high=high,
        n=record.count("n") if record.has("n") else None,
        baseline=record.truth("baseline", False),
        std=record.share("std") if record.has("std") else None,
        p=record.share("p") if record.has("p") else None,
    )


def _arms(record: Record) -> dict[str, tuple[str, ...]]:
    if not record.has("arms"):
        return {}
    named = Record.of(record.values["arms"], f"{record.place}, arms")
    runs = {name: tuple(_folder(item, named.place) for item in named.items(name)) for name in named.values}
    for name, folders in runs.items():
        for folder in folders:
            if folder not in record.items("runs"):
                raise UserError(f"{named.place}: '{name}' has the run '{folder}', which is not among 'runs'")
    return runs


def _share(record: Record, key: str) -> float:
    value = record.get(key, float)
    if not -1 <= value <= 1:
        raise UserError(f"{record.place}: '{key}' is {value:g}; shares and their differences lie between -1 and 1")
    return value


def _folder(item: Json, place: str) -> str:
    if not isinstance(item, str):
        raise UserError(f"{place}: 'runs' must be a list of folder names, found {item}")
    return item
