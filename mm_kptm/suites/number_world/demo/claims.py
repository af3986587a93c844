"""Results of the demonstration: tables with baselines, and claims checked against bounds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from mm_kptm.io.records import read_lines
from mm_kptm.report import Claim, Interval, Row, Run, Table, bootstrap, difference, over_seeds
from mm_kptm.report import arms as reported
from mm_kptm.report.runs import Prediction
from mm_kptm.report.tables import counted
from mm_kptm.suites.number_world.datasets.settings import NumberWorldData
from mm_kptm.suites.number_world.demo.arms import FACTS, INJECTED_BY_SPLIT, SWAPPED_SPLIT, TEXTS, VISION, Tier

RESAMPLING = 0  #: seed of the bootstrap, so that intervals are reproducible
PRIOR = "question-only"

Runs = Mapping[str, tuple[Run, ...]]


def tables(tier: Tier, runs: Runs) -> Iterator[Table]:
    """Iterate over the result tables."""
    generator = np.random.default_rng(RESAMPLING)
    runs = {**runs, "facts-fixed": tuple(_each_alone(run) for run in runs["facts-fixed"])}
    yield _headline(runs, tuple(VISION), "test", "What is seen", f"{_scenes(tier.vision_data)}.", generator)
    yield _headline(
        runs,
        FACTS,
        "test",
        "Facts about what is seen",
        f"{_scenes(tier.facts_data)}. The graph is one that training never saw, or the fixed one.",
        generator,
    )
    yield _knowledge_use(runs, generator)
    yield _by_injected_facts(runs, generator)
    found = _headline(
        runs,
        tuple(TEXTS),
        "test",
        "Translations found",
        f"Sentences of no parallel data in {', '.join(tier.text_data.languages)}; centred mean states.",
        generator,
    )
    searched = len({prediction.group for prediction in runs["text-tlm"][0].predictions["test"]})
    yield replace(found, rows=(*found.rows, Row("chance", "accuracy", 1 / searched, baseline=True)))


def claims(tier: Tier, runs: Runs) -> Iterator[Claim]:
    """Iterate over the claims with their measured values.

    An effect holds if it reaches its bound and its interval is above zero; a control holds only where the effect that
    it is a control of is shown. Arms that learned nothing so show nothing, not even that controls are low.
    """
    bounds, generator = tier.bounds, np.random.default_rng(RESAMPLING)

    def over(arm: str, other: str) -> Interval:
        """Paired difference in accuracy."""
        return _gap(_answers(runs[arm], "test"), _answers(runs[other], "test"), generator)

    def effect(text: str, value: float, bound: float, *, shown: bool) -> Claim:
        holds = shown and value >= bound
        return Claim(text, value, bound, None if bounds.small and not holds else holds, "at least")

    vision = {arm: over("vqa-true", arm) for arm in ("vqa-blank", "vqa-shuffled")}
    least = min(vision.values(), key=lambda gap: gap.value)
    yield effect(
        "vision: right answers over those without vision and with another scene",
        least.value,
        bounds.vision,
        shown=least.low > 0,
    )
    swapped = _answers(runs["facts-worlds"], SWAPPED_SPLIT)
    yield effect(
        "knowledge, trained in many worlds: swapped facts are followed",
        _accuracy(runs["facts-worlds"], SWAPPED_SPLIT),
        bounds.follows,
        shown=_gap(swapped, _memorised(swapped), generator).low > 0,
    )
    alone = tuple(_each_alone(run) for run in runs["facts-fixed"])
    fixed = _answers(alone, SWAPPED_SPLIT)
    yield _control(
        "knowledge, trained on one fixed graph: swapped facts are followed",
        _accuracy(runs["facts-fixed"], SWAPPED_SPLIT),
        bounds.fixed,
        shown=_gap(_memorised(fixed), fixed, generator).low > 0,  # it has learned that graph
    )
    translations = over("text-tlm", "text-mlm")
    yield effect(
        "translations found with TLM over MLM alone", translations.value, bounds.translation, shown=translations.low > 0
    )
    facts = over("facts-worlds", "facts-none")
    for arm, what, gap in (
        ("vqa-blank", "no vision", vision["vqa-blank"]),
        ("vqa-shuffled", "another scene", vision["vqa-shuffled"]),
        ("facts-none", "no facts", facts),
    ):
        prior = float(np.mean([run.baselines["test"][PRIOR] for run in runs[arm]]))
        yield _control(
            f"null arm ({what}): distance from the {PRIOR} prior",
            abs(_accuracy(runs[arm], "test") - prior),
            bounds.null,
            shown=gap.low > 0,
        )


def _control(text: str, value: float, bound: float, *, shown: bool) -> Claim:
    return Claim(text, value, bound, value <= bound if shown else None, "at most")


def _answers(runs: Sequence[Run], split: str) -> list[Prediction]:
    return [answer for run in runs for answer in run.predictions[split]]


def _memorised(answers: Sequence[Prediction]) -> list[Prediction]:
    """The answers scored by the true facts, where other facts were injected."""
    return [replace(answer, correct=answer.memorised) for answer in answers]


def _gap(ours: Sequence[Prediction], theirs: Sequence[Prediction], generator: np.random.Generator) -> Interval:
    """Paired difference of answers to the same examples."""
    first, second = ([answer.correct or 0.0 for answer in answers] for answers in (ours, theirs))
    return difference(first, second, [answer.group for answer in ours], generator)


def _scenes(data: NumberWorldData) -> str:
    sizes = " or ".join(map(str, data.sizes))
    return f"New scenes of {sizes} of the numbers 0-{data.numbers - 1}, questions in {', '.join(data.languages)}"


def _by_injected_facts(runs: Runs, generator: np.random.Generator) -> Table:
    """Accuracy of the arm trained with true facts of many worlds, by the facts injected at test time."""
    rows = []
    for split, facts in INJECTED_BY_SPLIT.items():
        answers = [
            [(answer.correct, answer.group) for answer in run.predictions[split] if answer.correct is not None]
            for run in runs["facts-worlds"]
        ]
        scores, groups = zip(*(answer for of_run in answers for answer in of_run), strict=True)
        found = bootstrap(scores, groups, generator)
        means = [float(np.mean([score for score, _ in of_run])) for of_run in answers]
        metric = f"accuracy, injected: {facts}"
        rows.append(Row("facts-worlds", metric, found.value, found.low, found.high, found.n, std=over_seeds(means).std))
    return Table(
        "Facts injected at test time", tuple(rows), "Same questions and model; only the injected facts differ."
    )


def _headline(
    runs: Runs, names: Sequence[str], split: str, title: str, note: str, generator: np.random.Generator
) -> Table:
    """Accuracy of several arms with the baselines of the first."""
    found = [
        reported.ReportedArm(
            name, runs[name] if name == names[0] else tuple(replace(run, baselines={}) for run in runs[name])
        )
        for name in names
    ]
    table = reported.headline(found, split, generator)
    return replace(table, title=title, note=f"{note} {table.note}")


def _knowledge_use(runs: Runs, generator: np.random.Generator) -> Table:
    """Share of answers by the injected and by the memorised training facts, where the two differ."""
    rows = []
    groups = 0
    for arm in ("facts-worlds", "facts-fixed"):
        example_groups = [answer.group for run in runs[arm] for answer in run.predictions[SWAPPED_SPLIT]]
        for key, metric in (
            ("correct", "follows the injected facts"),
            ("memorised", "follows the memorised true facts"),
        ):
            of_runs = [_column(run, key) for run in runs[arm]]
            scores = [score for column in of_runs for score in column]
            means = [float(np.mean(column)) for column in of_runs]
            found = bootstrap(scores, example_groups, generator)
            groups = max(groups, found.groups)
            rows.append(Row(arm, metric, found.value, found.low, found.high, found.n, std=over_seeds(means).std))
    drawn = counted(groups, "group")
    note = f"The injected facts are those of another world. Intervals of 95 % from drawing up to {drawn}."
    return Table("Facts swapped", tuple(rows), note)


def _column(run: Run, key: str) -> list[float]:
    """One field of the predictions with swapped facts."""
    return [line.share(key) for line in read_lines(run.folder / "predictions" / f"{SWAPPED_SPLIT}.jsonl")]


def _each_alone(run: Run) -> Run:
    """Run with a group per example: with a fixed graph, all examples would share one world."""
    alone = {
        split: tuple(replace(answer, group=answer.id) for answer in answers)
        for split, answers in run.predictions.items()
    }
    return replace(run, predictions=alone)


def _accuracy(runs: Sequence[Run], split: str) -> float:
    """Mean accuracy over examples and seeds."""
    return float(np.mean([np.mean([answer.correct for answer in run.predictions[split]]) for run in runs]))
