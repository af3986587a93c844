"""Runs become arms, and their predictions become the tables that they support."""

import json
from dataclasses import replace

import numpy as np
import pytest

from mm_kptm.report import read_run
from mm_kptm.report.arms import breakdown, confusions, contrasts, gather, headline, scored


@pytest.fixture
def runs(tmp_path, maker):
    """Two seeds with vision, one without."""
    for seed in (0, 1):
        maker(tmp_path / f"vision-seed{seed}", seed=seed, accuracy=0.8, arm="true")
    maker(tmp_path / "blind", seed=0, accuracy=0.3, arm="none")
    return [read_run(tmp_path / name) for name in ("vision-seed0", "vision-seed1", "blind")]


def test_runs_that_differ_in_their_seed_are_one_arm(runs):
    arms = gather(runs)
    assert [(arm.name, len(arm.runs)) for arm in arms] == [("vision", 2), ("blind", 1)]


def test_runs_without_a_seed_stay_apart(tmp_path, maker):
    for name in "ab":
        (maker(tmp_path / name) / "config.yaml").unlink()
    assert [arm.name for arm in gather([read_run(tmp_path / "a"), read_run(tmp_path / "b")])] == ["a", "b"]


def test_a_seed_run_twice_is_no_second_seed(tmp_path, maker):
    for name in "ab":
        maker(tmp_path / name, seed=3)
    assert [len(arm.runs) for arm in gather([read_run(tmp_path / "a"), read_run(tmp_path / "b")])] == [1, 1]


def test_an_example_scores_the_mean_over_seeds(runs):
    vision = gather(runs)[0]
    by_seed = [{p.id: p.correct for p in run.predictions["test"]} for run in runs[:2]]
    for item in scored(vision, "test"):
        assert item.score == (by_seed[0][item.prediction.id] + by_seed[1][item.prediction.id]) / 2


def test_the_headline_holds_arms_and_baselines(runs):
    table = headline(gather(runs), "test", np.random.default_rng(0))
    assert [(row.arm, row.baseline) for row in table.rows] == [
        ("vision", False),
        ("blind", False),
        ("chance", True),
        ("majority", True),
        ("question-only", True),
    ]
    vision, blind = table.rows[:2]
    means = [np.mean([p.correct for p in run.predictions["test"]]) for run in runs]
    assert vision.value == pytest.approx((means[0] + means[1]) / 2)
    assert vision.std == pytest.approx(np.std(means[:2], ddof=1))
    assert blind.std is None and blind.n == 240
    assert "60 groups" in table.note


def test_a_baseline_that_arms_do_not_share_names_its_arms(runs):
    """Arms whose data differ have baselines of their own."""
    facts = {"vision-seed0": 0.5, "vision-seed1": 0.5, "blind": 0.1}
    given = [replace(run, baselines={"test": {"chance": 0.1, "facts-only": facts[run.name]}}) for run in runs]
    rows = headline(gather(given), "test", np.random.default_rng(0)).rows[2:]
    assert [(row.arm, row.value) for row in rows] == [
        ("chance", 0.1),
        ("facts-only (vision)", 0.5),
        ("facts-only (blind)", 0.1),
    ]
    bare = [*given[:2], replace(given[2], baselines={"test": {"chance": 0.1}})]
    assert [row.arm for row in headline(gather(bare), "test", np.random.default_rng(0)).rows[2:]] == [
        "chance",
        "facts-only (vision)",
    ]


def test_arms_are_contrasted_on_the_same_examples(runs):
    (contrast,) = contrasts(gather(runs), np.random.default_rng(0))
    assert (contrast.arm, contrast.reference, contrast.gap.n) == ("blind", "vision", 240)
    assert contrast.gap.high < -0.3
    assert contrast.p < 0.001


def test_arms_that_share_no_example_are_not_contrasted(tmp_path, maker):
    maker(tmp_path / "a")
    path = maker(tmp_path / "b", arm="none") / "predictions" / "test.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("\n".join(json.dumps(line | {"id": f"other {line['id']}"}) for line in lines))
    arms = gather([read_run(tmp_path / "a"), read_run(tmp_path / "b")])
    assert contrasts(arms, np.random.default_rng(0)) == []


def test_a_breakdown_covers_every_example_once(runs):
    arm = gather(runs)[0]
    found = breakdown(arm, "test", lambda prediction: prediction.type, np.random.default_rng(0))
    assert list(found) == ["colour-of", "count", "left-of", "owner-of"]
    assert sum(cell.n for cell in found.values()) == 240
    whole = np.mean([item.score for item in scored(arm, "test")])
    assert np.mean([cell.value for cell in found.values()]) == pytest.approx(whole)


def test_the_commonest_mistake_comes_first(tmp_path, maker):
    path = maker(tmp_path / "a") / "predictions" / "test.jsonl"
    answers = [("9", "4")] * 3 + [("1", "7")] * 2 + [("3", "3")] * 5
    path.write_text(
        "\n".join(
            json.dumps({"id": number, "target": target, "answer": answer, "correct": target == answer})
            for number, (target, answer) in enumerate(answers)
        )
    )
    (arm,) = gather([read_run(tmp_path / "a")])
    assert confusions(arm, "test") == [("9", "4", 3), ("1", "7", 2)]


def test_a_step_logged_twice_counts_as_it_was_logged_last(run_folder):
    path = run_folder / "metrics.jsonl"
    path.write_text(path.read_text() + '{"step": 10, "split": "train", "loss": 99, "lr": NaN}\n')
    first = read_run(run_folder).measurements[0]
    assert (first.step, first.values) == (10, {"loss": 99.0})


def test_tier_and_seed_are_found_wherever_the_config_keeps_them(run_folder):
    run = read_run(run_folder)
    assert (run.tier, run.seed) == ("tiny", "0")
