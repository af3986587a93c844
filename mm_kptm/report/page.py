"""The page: one HTML file without any other, for a run, several runs, or a comparison."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np

from mm_kptm.report.arms import Arm, contrasts, gather, headline, splits
from mm_kptm.report.comparison import Comparison
from mm_kptm.report.markup import Child, Markup, join, tag
from mm_kptm.report.results import contrast_table, table
from mm_kptm.report.runs import Run
from mm_kptm.report.sections import breakdowns, claims, galleries, learning, provenance, section
from mm_kptm.report.tables import counted, stated

_SEED = 0  # of the resampling alone; the same files give the same page


def write_page(out: Path, runs: Sequence[Run], comparison: Comparison | None = None) -> Path:
    """Write the page; the file appears whole or not at all."""
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(out.name + ".part")
    unfinished.write_text(page(runs, comparison), encoding="utf-8")
    return unfinished.replace(out)


def page(runs: Sequence[Run], comparison: Comparison | None = None) -> str:
    """The whole document. A comparison brings its own tables and claims; otherwise they come from the predictions."""
    generator = np.random.default_rng(_SEED)
    arms = gather(runs)
    stands = _stands(arms, comparison)
    title = comparison.title if comparison else " / ".join(arm.name for arm in arms)
    body: list[Child] = [_header(title, stands, runs, comparison)]
    if comparison:
        body.append(claims(comparison.claims, stands))
        body.append(section("Results", [table(given, stands) for given in comparison.tables]))
        body.append(section("Runs", _measured(arms, stands, generator)))
    else:
        body.append(section("Results", _measured(arms, stands, generator)))
    body += [learning(arms, stands), breakdowns(arms, stands, generator), galleries(runs), provenance(runs)]
    style = Markup((files("mm_kptm.report") / "page.css").read_text(encoding="utf-8"))
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name_="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", style),
    )
    return "<!doctype html>\n" + tag("html", head, tag("body", tag("main", body)), lang="en") + "\n"


def _header(title: str, stands: str, runs: Sequence[Run], comparison: Comparison | None) -> Markup:
    kind = "comparison" if comparison or len(runs) > 1 else "run"
    steps = max((measured.step for run in runs for measured in run.measurements), default=0)
    facts = [stands, counted(len(runs), "run") if runs else None, f"{steps:,} steps" if steps else None]
    return tag(
        "header",
        tag("p", f"mm-kptm · {kind}", class_="kind"),
        tag("h1", title),
        tag("p", " · ".join(fact for fact in facts if fact), class_="stands"),
    )


def _measured(arms: Sequence[Arm], stands: str, generator: np.random.Generator) -> Markup:
    """Accuracy on every split with predictions, and the paired differences between arms."""
    tables = [table(headline(arms, split, generator), stands) for split in splits(arms)]
    return join(tables, contrast_table(contrasts(arms, generator), stands) if len(arms) > 1 else None)


def _stands(arms: Sequence[Arm], comparison: Comparison | None) -> str:
    """Tier and seeds; where arms differ in them, all that occur."""
    if comparison:
        return stated(comparison.tier, comparison.seeds)
    tiers = sorted({run.tier for arm in arms for run in arm.runs} - {""})
    return stated(" and ".join(tiers), min(len(arm.runs) for arm in arms))
