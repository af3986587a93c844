"""What the runs of the demonstration show: tables with controls beside every figure, and claims with their bounds.

Intervals of names are drawn from families of concepts, those of questions from countries.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mm_kptm.io.records import read_lines
from mm_kptm.report import Claim, Interval, Row, Run, Table, bootstrap, difference, over_seeds
from mm_kptm.report.languages import script_of
from mm_kptm.suites.atlas.datasets.splits import SPLITS
from mm_kptm.suites.atlas.demo.arms import FACTS, INJECTED_BY_SPLIT, NAMES, SWAPPED, Tier
from mm_kptm.tasks.vision.ranking import TO_TEXT

RESAMPLING = 0  #: seed of the bootstrap
DRAWS = 2000
LEARNT = 0.5  #: share of answers by the table of training from which a model is said to have learnt it
Runs = Mapping[str, tuple[Run, ...]]

TITLES = {
    "iid": ("Seen concepts in a seen style", "Drawings of training; what is new is nothing but the choice."),
    "style": ("Seen concepts in an unseen style", "The nearest drawing pixel by pixel stands beside it."),
    "concept": ("Held-out concepts in a seen style", "Whole families are held out."),
    "style-concept": ("Held-out concepts in an unseen style", "Both at once."),
    "subgroup": ("Held-out subgroups", "Fruit, sea animals, instruments and vessels are never seen."),
    "lang-text": ("Languages that names alone brought near", "Names that training spells the same are left out."),
    "lang-0": ("Languages that training never reads", "Names that training spells the same are left out."),
}


@dataclass(frozen=True)
class Ranked:
    """The rank of the right name of one drawing in one language."""

    family: str
    language: str
    rank: float


def ranked(run: Run, split: str) -> list[Ranked]:
    """Ranks of the names of drawings in a split of a run."""
    lines = read_lines(run.folder / "predictions" / f"test-{split}.jsonl")
    return [
        Ranked(line.text("group").partition("/")[0], line.text("language"), float(line.get("rank", int)))
        for line in lines
        if line.text("type") == TO_TEXT
    ]


def tables(tier: Tier, runs: Runs) -> Iterator[Table]:
    """Every table of the page."""
    generator = np.random.default_rng(RESAMPLING)
    for split in SPLITS:
        yield _named(split, runs[NAMES], generator)
    yield _by_language(runs[NAMES])
    yield _by_script(runs[NAMES])
    yield _facts(tier, runs, generator)
    yield _injected(runs, generator)
    yield _followed(runs, generator)


def claims(tier: Tier, runs: Runs) -> Iterator[Claim]:
    """The claims with their measured values; an effect holds where it reaches its bound."""
    bounds, generator = tier.bounds, np.random.default_rng(RESAMPLING)

    def found(split: str, rank: int) -> tuple[Interval, float]:
        chance = runs[NAMES][0].baselines[f"test-{split}"][f"chance-recall@{rank}"]
        return _recall(runs[NAMES], split, rank, generator), chance

    def effect(text: str, value: float, bound: float, *, shown: bool) -> Claim:
        holds = shown and value >= bound
        return Claim(text, value, bound, None if bounds.small and not holds else holds, "at least")

    seen, chance = found("iid", 1)
    yield effect(
        "names of seen concepts in a seen style, recall at 1", seen.value, bounds.seen, shown=seen.low > chance
    )
    for split, rank, times, text in (
        ("concept", 10, bounds.concepts, "names of held-out concepts, recall at 10, against {} times chance"),
        (
            "lang-text",
            1,
            bounds.parallel,
            "languages brought near by names alone, recall at 1, against {} times chance",
        ),
    ):
        measured, chance = found(split, rank)
        yield effect(text.format(f"{times:g}"), measured.value, times * chance, shown=measured.low > chance)
    style, _ = found("style", 1)
    nearest = runs[NAMES][0].baselines["test-style"]["pixel-nearest-recall@1"]
    yield Claim(
        "names of seen concepts in an unseen style, recall at 1, against the nearest drawing pixel by pixel",
        style.value,
        nearest,
        None if bounds.small and style.value < nearest else style.value >= nearest,
        "at least",
    )
    follows = _mean(runs["facts-worlds"], SWAPPED, "correct")
    memory = _mean(runs["facts-worlds"], SWAPPED, "memorised")
    yield effect("trained in many worlds: swapped facts are followed", follows, bounds.follows, shown=follows > memory)
    fixed, kept = (_mean(runs["facts-real"], SWAPPED, key) for key in ("correct", "memorised"))
    yield Claim(
        "trained on the real table: swapped facts are followed",
        fixed,
        bounds.fixed,
        fixed <= bounds.fixed if kept > LEARNT else None,
        "at most",
    )
    gap = facts_used(runs, generator)
    text = "facts in another language than the question over no facts: lower end of the paired interval"
    yield effect(text, gap.low, 0.0, shown=gap.low > 0)


def facts_used(runs: Runs, generator: np.random.Generator) -> Interval:
    """Paired difference of right answers with true facts in another language and without facts."""
    ours, theirs = (_scores(runs[arm], "test", "correct") for arm in ("facts-worlds", "facts-none"))
    return difference(
        [one for one, _ in ours], [one for one, _ in theirs], [group for _, group in ours], generator, draws=DRAWS
    )


def _named(split: str, runs: Sequence[Run], generator: np.random.Generator) -> Table:
    title, note = TITLES[split]
    rows = []
    for rank in (1, 10):
        measured = _recall(runs, split, rank, generator)
        means = [float(np.mean([one.rank <= rank for one in ranked(run, split)])) for run in runs]
        rows.append(
            Row(
                NAMES,
                f"recall@{rank}",
                measured.value,
                measured.low,
                measured.high,
                measured.n,
                std=over_seeds(means).std,
            )
        )
    for name, value in runs[0].baselines[f"test-{split}"].items():
        control, _, metric = name.rpartition("-")
        rows.append(Row(control, metric, value, baseline=True))
    return Table(title, tuple(rows), f"{note} A drawing finds its name among those of one language.")


def _recall(runs: Sequence[Run], split: str, rank: int, generator: np.random.Generator) -> Interval:
    found = [one for run in runs for one in ranked(run, split)]
    return bootstrap([float(one.rank <= rank) for one in found], [one.family for one in found], generator, draws=DRAWS)


def _by_language(runs: Sequence[Run]) -> Table:
    rows = []
    for split in ("iid", "concept", "lang-text", "lang-0"):
        found = [one for run in runs for one in ranked(run, split)]
        for language in dict.fromkeys(one.language for one in found):
            for rank in (1, 10):
                mine = [one.rank <= rank for one in found if one.language == language]
                rows.append(Row(f"{split}, {language}", f"recall@{rank}", float(np.mean(mine)), n=len(mine)))
    return Table("Names by language", tuple(rows), "Means over seeds.")


def _by_script(runs: Sequence[Run]) -> Table:
    rows, generator = [], np.random.default_rng(RESAMPLING)
    for split in ("iid", "concept", "lang-text", "lang-0"):
        found = [one for run in runs for one in ranked(run, split)]
        for script in dict.fromkeys(script_of(one.language) for one in found):
            mine = [one for one in found if script_of(one.language) == script]
            for rank in (1, 10):
                right = [float(one.rank <= rank) for one in mine]
                measured = bootstrap(right, [one.family for one in mine], generator, draws=DRAWS)
                label = f"{split}, {script}"
                rows.append(Row(label, f"recall@{rank}", measured.value, measured.low, measured.high, measured.n))
    return Table("Names by script", tuple(rows), "All languages of a script, and all seeds, together.")


def _facts(tier: Tier, runs: Runs, generator: np.random.Generator) -> Table:
    rows = [_row(arm, "accuracy", runs[arm], "test", "correct", generator) for arm in FACTS]
    for arm in ("facts-worlds", "facts-real"):
        for control, value in runs[arm][0].baselines["test"].items():
            rows.append(Row(f"{control} ({arm})", "accuracy", value, baseline=True))
    data = tier.flags_data
    note = (
        f"Questions about {', '.join(data.relations)} of {len(data.countries)} countries by their flags, in "
        f"{', '.join(data.languages)}; the names and facts beside a question are in another language than the question."
    )
    return Table("Facts about flags, in another language", tuple(rows), note)


def _injected(runs: Runs, generator: np.random.Generator) -> Table:
    rows = [
        _row(arm, f"accuracy, injected: {injected}", runs[arm], split, "correct", generator)
        for arm in ("facts-worlds", "facts-real")
        for split, injected in INJECTED_BY_SPLIT.items()
    ]
    return Table("What is injected in the test", tuple(rows), "Same questions and models; only the facts differ.")


def _followed(runs: Runs, generator: np.random.Generator) -> Table:
    rows = [
        _row(arm, metric, runs[arm], SWAPPED, key, generator)
        for arm in ("facts-worlds", "facts-real")
        for key, metric in (
            ("correct", "follows the injected facts"),
            ("memorised", "answers by the table of its world"),
        )
    ]
    return Table("Swapped facts", tuple(rows), "Every injected object is another than in the table of the world.")


def _row(arm: str, metric: str, runs: Sequence[Run], split: str, key: str, generator: np.random.Generator) -> Row:
    scores = _scores(runs, split, key)
    found = bootstrap([score for score, _ in scores], [group for _, group in scores], generator, draws=DRAWS)
    means = [float(np.mean([score for score, _ in _scores([run], split, key)])) for run in runs]
    return Row(arm, metric, *_of(found), std=over_seeds(means).std)


def _of(found: Interval) -> tuple[float, float, float, int]:
    return found.value, found.low, found.high, found.n


def _scores(runs: Sequence[Run], split: str, key: str) -> list[tuple[float, str]]:
    return [
        (line.share(key), line.text("group"))
        for run in runs
        for line in read_lines(run.folder / "predictions" / f"{split}.jsonl")
    ]


def _mean(runs: Sequence[Run], split: str, key: str) -> float:
    return float(np.mean([score for score, _ in _scores(runs, split, key)]))
