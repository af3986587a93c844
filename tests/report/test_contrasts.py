"""A whole table of arms, seeds and scenes: an effect is found where there is one, and only there."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from mm_kptm.report.arms import ReportedArm, contrasts
from mm_kptm.report.runs import Prediction, Run

TABLES, SCENES, QUESTIONS, SEEDS = 200, 40, 4, 2


def run_of(right: np.ndarray, name: str) -> Run:
    """A run with these answers to the questions of all scenes, [scenes, questions]."""
    answers = tuple(
        Prediction(f"{scene}-{place}", "a", "a", float(right[scene, place]), f"scene-{scene}")
        for scene in range(SCENES)
        for place in range(QUESTIONS)
    )
    return Run(name, Path(name), "", None, "", {}, {}, (), {"test": answers}, {}, ())


def arm_of(name: str, chances: np.ndarray, generator: np.random.Generator) -> ReportedArm:
    """An arm whose seeds answer each question rightly with the chance of its scene, [scenes]."""
    shape = (SCENES, QUESTIONS)
    return ReportedArm(
        name, tuple(run_of(generator.random(shape) < chances[:, None], f"{name}-{seed}") for seed in range(SEEDS))
    )


def tables(effect: float) -> list[list]:
    """Contrasts of 200 simulated comparisons: a first arm, two that equal it on average, one better by ``effect``.

    Scenes are hard or easy for all arms alike, and each arm has some luck of its own with each scene.
    """
    generator = np.random.default_rng(7)
    found = []
    for _ in range(TABLES):
        ease = generator.uniform(0.3, 0.7, SCENES)
        arms = [
            arm_of(name, ease + better + generator.normal(0, 0.05, SCENES), generator)
            for name, better in (("first", 0.0), ("same", 0.0), ("alike", 0.0), ("other", effect))
        ]
        found.append(contrasts(arms, generator, draws=500))
    return found


@pytest.fixture(scope="module")
def without_effect():
    return tables(0.0)


@pytest.fixture(scope="module")
def with_effect():
    return tables(0.25)


def test_a_null_effect_is_found_no_oftener_than_was_agreed(without_effect):
    """At 5 % after Holm, a table of three null effects holds any find in at most its share of 200 tables."""
    false = sum(any(contrast.p < 0.05 for contrast in table) for table in without_effect)
    assert false <= binom.ppf(0.999, TABLES, 0.05)


def test_intervals_of_null_effects_cover_zero_as_often_as_they_say(without_effect):
    covered = sum(contrast.gap.low <= 0 <= contrast.gap.high for table in without_effect for contrast in table[:1])
    assert binom.ppf(0.001, TABLES, 0.95) <= covered <= binom.ppf(0.999, TABLES, 0.95)


def test_a_known_effect_is_found_beside_null_ones(with_effect):
    """The better arm is found in nearly every table, with the size that was put in; its neighbours are not."""
    by_name = {
        name: [c for table in with_effect for c in table if c.arm == name] for name in ("same", "alike", "other")
    }
    assert np.mean([contrast.p < 0.05 for contrast in by_name["other"]]) > 0.95
    assert np.mean([contrast.gap.value for contrast in by_name["other"]]) == pytest.approx(0.25, abs=0.01)
    assert all(contrast.gap.low > 0 for contrast in by_name["other"] if contrast.p < 0.01)
    false = sum(any(c.p < 0.05 for c in pair) for pair in zip(by_name["same"], by_name["alike"], strict=True))
    assert false <= binom.ppf(0.999, TABLES, 0.05)
