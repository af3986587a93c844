"""An objective is drawn for every step by its weight, whoever asks."""

from __future__ import annotations

from collections import Counter

from mm_kptm.objectives.drawn import DrawnObjectives


def test_objectives_are_drawn_by_their_weights() -> None:
    drawn = DrawnObjectives({"often": 3.0, "rarely": 1.0}, seed=1)
    names = [drawn.objective(step) for step in range(1, 2001)]
    assert 0.72 < Counter(names)["often"] / len(names) < 0.78
    assert names == [DrawnObjectives({"rarely": 1.0, "often": 3.0}, seed=1).objective(step) for step in range(1, 2001)]
    assert names != [DrawnObjectives({"often": 3.0, "rarely": 1.0}, seed=2).objective(step) for step in range(1, 2001)]
    assert 3.0 * drawn.factor("often") == 1.0 == drawn.factor("rarely")
