"""The demonstration trains its arms alike, holds them against priors, and tells people and machines the same."""

import json
import multiprocessing
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mm_kptm import cli, config
from mm_kptm.errors import UserError
from mm_kptm.experiment.comparison import Job
from mm_kptm.report import Run, read_comparison, read_gallery
from mm_kptm.report.demonstration import Demonstration
from mm_kptm.report.runs import Prediction
from mm_kptm.suites.number_world.demo import arms
from mm_kptm.suites.number_world.demo import demo as demonstration
from mm_kptm.suites.number_world.demo.arms import (
    FACTS,
    INJECTED_BY_SPLIT,
    SWAPPED_SPLIT,
    TEXTS,
    TIERS,
    VISION,
    Bounds,
    Tier,
    experiments,
)
from mm_kptm.suites.number_world.demo.claims import claims
from mm_kptm.suites.number_world.demo.demo import demo

TINY = TIERS["tiny"]
SMALLEST = replace(
    TINY,
    vision_data=replace(TINY.vision_data, questions=150, eval_questions=30),
    facts_data=replace(TINY.facts_data, questions=150, eval_questions=30, num_perception_questions=50),
    text_data=replace(TINY.text_data, questions=40, eval_questions=12),
    vqa_steps=2,
    facts_steps=2,
    text_steps=2,
    dim=16,
    layers=2,
)
ARMS = (*VISION, *FACTS, *TEXTS)


def one_by_one(
    work: Callable[[Job], str], jobs: Sequence[Job], *, workers: int, first: int
) -> Iterator[tuple[int, str]]:
    """The pool without its processes, on one thread like them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for place, job in enumerate(jobs):
            yield place, work(job)
    finally:
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def shown(tmp_path_factory) -> tuple[Path, Demonstration, list[str]]:
    """A demonstration that hardly trains, run in this process, and what was said."""
    out, said = tmp_path_factory.mktemp("demo"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(arms.TIERS, "tiny", SMALLEST)
        patch.setattr(demonstration, "outcomes", one_by_one)
        found = demo("tiny", out, workers=1, say=said.append)
    return out, found, said


@pytest.mark.parametrize("tier", TIERS.values(), ids=list(TIERS))
def test_arms_of_a_group_differ_in_one_thing(tier: Tier, tmp_path):
    arms = experiments(tier, 0, tmp_path)
    differing = {"vqa-": "data.vision", "text-": "data.texts"}
    for group, key in differing.items():
        first, *others = (config.leaves(replace(arms[name], name="arm")) for name in arms if name.startswith(group))
        assert {k for other in others for k in first if first[k] != other[k]} == {key}
    leaves = {name: config.leaves(replace(arms[name], name="arm")) for name in FACTS}
    worlds, fixed, none = (leaves[name] for name in FACTS)
    assert {key for key in worlds if worlds[key] != fixed[key]} == {"data.graph"}
    assert {key for key in worlds if worlds[key] != none[key]} == {"knowledge.facts"}
    assert {arms[name].encoder.weights for name in FACTS} == {arms["vqa-true"].folder / "model"}


def test_only_the_tiny_tier_claims_less_than_the_suite_promises():
    promised = Bounds(vision=0.5, follows=0.8, fixed=0.3, translation=0.25, null=0.05)
    assert {name: tier.bounds == promised for name, tier in TIERS.items()} == {
        "tiny": False, "demo": True, "paper": True,
    }  # fmt: skip


def test_every_arm_stands_in_a_table_beside_what_needs_no_model(shown):
    _, found, _ = shown
    seen, facts, swapped, injected, translations = found.comparison.tables
    metrics = [f"accuracy, injected: {facts}" for facts in INJECTED_BY_SPLIT.values()]
    assert [row.metric for row in injected.rows] == metrics
    assert injected.rows[0].value == next(row.value for row in facts.rows if row.arm == "facts-worlds")
    assert [row.arm for row in seen.rows if not row.baseline] == list(VISION)
    assert [row.arm for row in facts.rows if not row.baseline] == list(FACTS)
    assert {(row.arm, row.metric) for row in swapped.rows} == {
        (arm, metric)
        for arm in ("facts-worlds", "facts-fixed")
        for metric in ("follows the injected facts", "follows the memorised true facts")
    }
    assert [row.arm for row in translations.rows] == [*TEXTS, "chance"]
    assert {row.arm for row in seen.rows if row.baseline} == {"chance", "majority", "question-only", "image-only"}
    assert "facts-only" in {row.arm for row in facts.rows if row.baseline}
    assert translations.rows[-1].value == 1 / 12


def test_claims_are_the_differences_of_the_tables(shown):
    _, found, _ = shown
    seen, facts, swapped, _, _ = ({(r.arm, r.metric): r.value for r in table.rows} for table in found.comparison.tables)
    vision, follows, fixed, translation, blank, shuffled, none = found.comparison.claims
    accuracy = {arm: value for (arm, metric), value in (seen | facts).items() if metric == "accuracy"}
    blind = max(accuracy["vqa-blank"], accuracy["vqa-shuffled"])
    assert vision.value == pytest.approx(accuracy["vqa-true"] - blind) and vision.bound == TINY.bounds.vision
    assert fixed.value == pytest.approx(swapped["facts-fixed", "follows the injected facts"])
    prior = seen["question-only", "accuracy"]
    assert blank.value == pytest.approx(abs(accuracy["vqa-blank"] - prior))
    assert shuffled.value == pytest.approx(abs(accuracy["vqa-shuffled"] - prior))
    assert follows.value == pytest.approx(swapped["facts-worlds", "follows the injected facts"])
    tlm, mlm = (row.value for row in found.comparison.tables[-1].rows[:2])
    assert translation.value == pytest.approx(tlm - mlm) and "no facts" in none.text


def test_what_learned_nothing_confirms_nothing(shown):
    """Two steps show no effect: no claim holds, though every null arm is where a null arm belongs."""
    _, found, _ = shown
    assert {claim.holds for claim in found.comparison.claims} == {None}
    assert "✓" not in re.sub(r"<article.*?</article>", "", found.report.read_text(), flags=re.DOTALL)
    assert found.report.read_text().count("too small to show") == 7
    assert found.text().count("too small to show") == 7 and "A larger tier shows it." in found.text()


def made(correct: float, memorised: float | None = None, *, of: int = 60) -> tuple[Run, ...]:
    """A run that answered that share of 60 examples of each split, and 10 % as a prior."""
    answers = tuple(
        Prediction(str(at), "a", "b", float(at < correct * of), f"group {at}",
                   memorised=None if memorised is None else float(at >= of * (1 - memorised)))
        for at in range(of)
    )  # fmt: skip
    splits = dict.fromkeys(("test", SWAPPED_SPLIT), answers)
    return (Run("run", Path("run"), "", "0", "", {}, {}, (), splits, {"test": {"question-only": 0.1}}, ()),)


def verdicts(tier: str, *, learned: bool) -> list[str]:
    runs = dict.fromkeys(ARMS, made(0.1))
    if learned:
        runs |= {"vqa-true": made(0.8), "facts-worlds": made(0.9, 0.1), "facts-fixed": made(0.1, 0.8)}
        runs["text-tlm"] = made(0.5)
    else:
        runs |= {"facts-worlds": made(0.1, 0.1), "facts-fixed": made(0.1, 0.1)}
    return [claim.verdict for claim in claims(TIERS[tier], runs)]


def test_effects_hold_where_they_are_and_controls_only_beside_them():
    assert verdicts("tiny", learned=True) == verdicts("demo", learned=True) == ["holds"] * 7
    small = "too small to show"
    assert verdicts("tiny", learned=False) == [small] * 7
    assert verdicts("demo", learned=False) == ["fails", "fails", small, "fails", small, small, small]


def test_it_leaves_a_page_and_whole_run_folders(shown):
    out, found, said = shown
    assert read_comparison(out) == found.comparison
    assert found.report == out / "report.html" and "vqa-shuffled" in found.report.read_text()
    assert found.comparison.arms == {arm: (f"{arm}-seed-0",) for arm in ARMS}
    for arm in ARMS:
        run = out / f"{arm}-seed-0"
        assert {path.name for path in run.iterdir()} >= {"config.yaml", "metrics.jsonl", "environment.json", "model"}
        assert (run / "predictions" / "test.jsonl").is_file()
    assert (out / "facts-worlds-seed-0" / "predictions" / f"{SWAPPED_SPLIT}.jsonl").is_file()
    assert said[0] == "tiny tier: 8 arms, 8 runs, 1 at a time" and len(said) == 9


def test_examples_show_where_attention_went_and_which_fact_was_needed(shown):
    out, _, _ = shown
    for arm in ARMS:
        assert read_gallery(out / f"{arm}-seed-0" / "examples" / "test.json")
    examples = read_gallery(out / "facts-worlds-seed-0" / "examples" / f"{SWAPPED_SPLIT}.json")
    assert len(examples) == 6
    for example in examples:
        shares = [part.attention for part in (*example.tokens, *example.boxes)]
        assert sum(shares) == pytest.approx(1, abs=1e-2) and example.image
        (needed,) = (fact for fact in example.facts if fact.used)
        assert needed.object == example.target.lower() and needed.relation == "owner"  # swapped: the target follows
        assert len(example.boxes) == len(example.facts) == 2


def test_a_demonstration_that_is_done_is_not_run_again(shown, monkeypatch):
    out, found, _ = shown
    monkeypatch.setitem(arms.TIERS, "tiny", SMALLEST)
    monkeypatch.setattr(demonstration, "run", lambda job: pytest.fail("it ran"))
    again = demo("tiny", out, workers=1, say=lambda line: None)
    assert again.comparison == found.comparison


def test_worker_processes_change_nothing_and_stdout_holds_json_alone(shown, monkeypatch, tmp_path, capfd):
    out, found, _ = shown
    monkeypatch.setitem(arms.TIERS, "tiny", SMALLEST)
    monkeypatch.setattr(demonstration, "_cores", lambda: 2)
    assert cli.main(["demo", "--tier", "tiny", "--out", str(tmp_path), "--json"]) == 0
    printed, injected = capfd.readouterr()
    plain = json.loads(printed)
    assert plain == {**found.plain(), "report": str(tmp_path / "report.html")}
    assert set(plain) >= {"title", "tier", "seeds", "tables", "claims", "runs", "arms", "report"}
    assert "8 arms, 8 runs, 2 at a time" in injected
    for path in sorted(out.glob("*/predictions/*.jsonl")):
        assert (tmp_path / path.relative_to(out)).read_bytes() == path.read_bytes()
    assert not multiprocessing.active_children()


def test_an_arm_that_fails_ends_the_demonstration_with_its_name(monkeypatch, tmp_path):
    def no_room(*_: object, **__: object) -> None:
        raise UserError("there is no room")

    monkeypatch.setitem(arms.TIERS, "tiny", SMALLEST)
    monkeypatch.setattr(demonstration, "outcomes", one_by_one)
    monkeypatch.setattr(demonstration, "train", no_room)
    with pytest.raises(UserError, match=r"^vqa-true-seed-0: there is no room$"):
        demo("tiny", tmp_path, workers=1, say=lambda line: None)


def test_as_many_seeds_are_run_as_are_asked_for(monkeypatch, tmp_path):
    monkeypatch.setitem(arms.TIERS, "tiny", SMALLEST)
    monkeypatch.setattr(demonstration, "outcomes", one_by_one)
    said: list[str] = []
    found = demo("tiny", tmp_path, seeds=2, workers=1, say=said.append)
    assert said[0] == "tiny tier: 8 arms, 16 runs, 1 at a time" and len(said) == 17
    assert found.comparison.seeds == 2
    assert found.comparison.arms == {arm: (f"{arm}-seed-0", f"{arm}-seed-1") for arm in ARMS}


def test_no_seeds_are_refused(tmp_path, capsys):
    assert cli.main(["demo", "--seeds", "0", "--out", str(tmp_path)]) == 2
    assert "0 seeds were asked for; at least 1 is needed" in capsys.readouterr().err


def test_an_unknown_tier_is_refused(tmp_path):
    with pytest.raises(UserError, match="there is no tier 'huge'; the tiers are tiny, demo, paper"):
        demo("huge", tmp_path)


def test_another_tier_is_not_mixed_into_a_folder(shown, monkeypatch):
    out, _, _ = shown
    with pytest.raises(UserError, match=r"began with .*; name another --out"):
        demo("tiny", out, workers=1)
