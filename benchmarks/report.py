"""The latest record of every case against its goal and its best: ``python -m benchmarks.report``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks import history
from benchmarks.harness import OURS, PEER


def line(record: Mapping[str, Any], goals: Mapping[str, Mapping[str, Any]]) -> str:
    """One run in a few lines for people."""
    goal = goals.get(record["case"], {})
    noisy = "  (noisy: not comparable)" if record["noisy"] else ""
    lines = [
        f"{record['case']}  {record['title']}{noisy}",
        f"  {PEER:<14} {record['seconds'][PEER]:9.4f} s   {_cost(record, PEER)}",
    ]
    for variant, ratio in record["ratios"].items():
        aim = _aim(variant, goal)
        lines.append(
            f"  {variant:<14} {record['seconds'][variant]:9.4f} s   {_cost(record, variant)}   "
            f"x{ratio['median']:.2f} [{ratio['low']:.2f}-{ratio['high']:.2f}]{aim}"
        )
    lines.append(f"  {record['work_per_s']:,.0f} {record['unit']} a second ({record['clock']})")
    return "\n".join(lines)


def _cost(record: Mapping[str, Any], variant: str) -> str:
    return f"{record['gflop'][variant]:8.1f} GFLOP {record['peak_bytes'][variant] / 2**20:8.0f} MiB"


def _aim(variant: str, goal: Mapping[str, Any]) -> str:
    if variant == OURS and goal:
        return f"   bar x{goal['bar']:g}, goal x{goal['goal']:g}"
    return f"   goal x{goal['variants'][variant]:g}" if variant in goal.get("variants", {}) else ""


def table(records: Sequence[Mapping[str, Any]], goals: Mapping[str, Mapping[str, Any]]) -> str:
    """Per kind of machine and case: the latest quiet record, the best one of the same protocol, the goal.

    A case with noisy records only is shown with its latest one, and says so.
    """
    rows = [("machine", "case", "ratio", "middle half", "best", "bar", "goal", "noisy", "utc")]
    for (machine, name), group in _grouped(records):
        quiet = [record for record in group if not record["noisy"]]
        latest = (quiet or group)[-1]
        ratio = latest["ratios"][OURS]
        best = max((old["ratios"][OURS]["median"] for old in history.alike(latest, group)), default=None)
        goal = goals.get(name, {})
        rows.append(
            (
                machine,
                name,
                f"x{ratio['median']:.2f}",
                f"{ratio['low']:.2f}-{ratio['high']:.2f}",
                "-" if best is None else f"x{best:.2f}",
                f"x{goal['bar']:g}" if goal else "-",
                f"x{goal['goal']:g}" if goal else "-",
                "yes" if latest["noisy"] else "no",
                latest["utc"],
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def _grouped(
    records: Iterable[Mapping[str, Any]],
) -> list[tuple[tuple[str, str], list[Mapping[str, Any]]]]:
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for record in records:
        groups.setdefault((record["machine_key"], record["case"]), []).append(record)
    return sorted(groups.items())


if __name__ == "__main__":
    print(table(history.read(), history.goals()))
