"""Losses and errors are to fall, everything else is to rise, and what is not finite is never the best."""

from __future__ import annotations

import pytest

from mm_kptm.train import TrainSettings
from mm_kptm.train.monitor import is_better


@pytest.mark.parametrize(
    ("monitor", "value", "best", "better"),
    [
        ("dev/accuracy", 0.6, 0.5, True),
        ("dev/accuracy", 0.5, 0.5, False),
        ("dev/loss", 0.4, 0.5, True),
        ("dev/loss", 0.6, 0.5, False),
        ("dev/mean-error", 0.6, 0.5, False),
        ("dev/loss", 9.0, None, True),
        ("dev/loss", float("nan"), None, False),
        ("dev/accuracy", float("inf"), 0.5, False),
    ],
)
def test_a_monitored_measure_improves_in_its_own_direction(
    monitor: str, value: float, best: float | None, better: bool
) -> None:
    assert is_better(TrainSettings(monitor=monitor), value, best) is better
