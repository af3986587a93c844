"""Answers to swapped facts become a knowledge-use score."""

import json

import numpy as np
import pytest

from mm_kptm.report import read_run
from mm_kptm.report.arms import ReportedArm
from mm_kptm.report.uses import uses


def arm(folder, name, shares):
    """One run per pair of shares: of 40 answers so many follow, so many stick."""
    runs = []
    for seed, (follows_context, memorised) in enumerate(shares):
        path = folder / f"{name}-{seed}" / "predictions" / "test-swapped.jsonl"
        path.parent.mkdir(parents=True)
        rows = [
            {
                "id": f"q{n}",
                "answer": "",
                "correct": float(n < follows_context),
                "memorised": float(n >= 40 - memorised),
                "group": f"world-{n % 8}",
            }
            for n in range(40)
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        runs.append(read_run(path.parents[1]))
    return ReportedArm(name, tuple(runs))


def test_the_score_is_what_follows_minus_what_sticks(tmp_path):
    told, deaf = arm(tmp_path, "told", [(36, 1), (40, 0)]), arm(tmp_path, "deaf", [(4, 30), (2, 38)])
    table = uses([told, deaf], "test-swapped", np.random.default_rng(0))
    rows = {(row.arm, row.metric): row for row in table.rows}
    assert rows["told", "knowledge use"].value == pytest.approx((35 + 40) / 80)
    assert rows["deaf", "knowledge use"].value == pytest.approx((-26 - 36) / 80)
    assert rows["deaf", "memorised"].value == pytest.approx(68 / 80)
    assert rows["told", "knowledge use"].std == pytest.approx(np.std([35 / 40, 1.0], ddof=1))
    assert all(row.low <= row.value <= row.high for row in table.rows)
    assert "8 groups" in table.note


def test_answers_to_true_facts_have_no_such_score(tmp_path):
    path = tmp_path / "plain" / "predictions" / "test.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"id": "q", "answer": "", "correct": 1.0}) + "\n")
    assert uses([ReportedArm("plain", (read_run(path.parents[1]),))], "test", np.random.default_rng(0)) is None
