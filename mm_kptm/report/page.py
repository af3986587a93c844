"""Self-contained HTML page for a run, several runs, or a comparison."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup

from mm_kptm.io.atomic import write_text
from mm_kptm.report.arms import ReportedArm, contrasts, gather, headline, splits
from mm_kptm.report.comparison import Comparison
from mm_kptm.report.results import contrast_table, table
from mm_kptm.report.runs import Run
from mm_kptm.report.sections import breakdowns, claims, examples, facts_swapped, learning, provenance, section
from mm_kptm.report.tables import counted, stated
from mm_kptm.report.templating import render

_SEED = 0  # of the bootstrap; the same files give the same page


def write_page(out: Path, runs: Sequence[Run], comparison: Comparison | None = None) -> Path:
    """Write the page atomically."""
    write_text(out, page(runs, comparison))
    return out


def page(runs: Sequence[Run], comparison: Comparison | None = None) -> str:
    """HTML document; tables and claims come from the comparison if there is one, the rest from the run folders."""
    generator = np.random.default_rng(_SEED)
    arms = _named(comparison, runs) if comparison and comparison.arms else gather(runs)
    stands = _stands(arms)
    if comparison:
        about = stated(comparison.tier, comparison.seeds)
        title = comparison.title
        results = [
            claims(comparison.claims, about),
            section("Results", *(table(each, about) for each in comparison.tables)),
            None if comparison.arms else section("Runs", *_measured(arms, stands, generator)),
        ]
    else:
        about = stands
        title = " / ".join(arm.name for arm in arms)
        results = [section("Results", *_measured(arms, stands, generator))]
    parts = [
        *results,
        learning(arms, stands),
        breakdowns(arms, stands, generator),
        facts_swapped(arms, stands, generator, agreement_alone=comparison is not None),
        examples(runs),
        provenance(runs),
    ]
    steps = max((measured.step for run in runs for measured in run.measurements), default=0)
    facts = [about, counted(len(runs), "run") if runs else None, f"{steps:,} steps" if steps else None]
    return render(
        "page.html",
        title=title,
        kind="run" if len(runs) == 1 else "comparison",
        facts=[fact for fact in facts if fact],
        sections=[part for part in parts if part],
    )


def _named(comparison: Comparison, runs: Sequence[Run]) -> tuple[ReportedArm, ...]:
    """Arms of a comparison with their runs."""
    read = dict(zip(comparison.runs, runs, strict=True))
    return tuple(
        ReportedArm(name, tuple(read[folder] for folder in folders)) for name, folders in comparison.arms.items()
    )


def _measured(arms: Sequence[ReportedArm], stands: str, generator: np.random.Generator) -> list[Markup | None]:
    """Accuracy tables by split, and paired differences between arms."""
    tables = [table(headline(arms, split, generator), stands) for split in splits(arms)]
    return [*tables, contrast_table(contrasts(arms, generator), stands) if len(arms) > 1 else None]


def _stands(arms: Sequence[ReportedArm]) -> str:
    """Tiers and numbers of seeds that occur among the arms, in words."""
    tiers = sorted({run.tier for arm in arms for run in arm.runs} - {""})
    seeds = sorted({len(arm.runs) for arm in arms}) or [0]
    if len(seeds) > 1:
        return f"{stated(' and '.join(tiers), seeds[-1])} for some arms, fewer for others"
    return stated(" and ".join(tiers), seeds[0])
