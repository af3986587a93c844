"""The measure that ``train.monitor`` names, such as ``dev/accuracy``: is it there, and what is its value."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from mm_kptm.errors import UserError
from mm_kptm.train.settings import TrainSettings

_LOWER_IS_BETTER = ("loss", "error", "perplexity")  #: ends of the names of measures that are to fall


def check_monitored_split(settings: TrainSettings, splits: Iterable[str]) -> None:
    """Check that the split of ``settings.monitor`` is evaluated; ``UserError`` if it is not."""
    splits = list(splits)
    if settings.monitor is not None and (split := settings.monitor.partition("/")[0]) not in splits:
        raise UserError(
            f"train.monitor is {settings.monitor}, but no split {split!r} is evaluated; "
            f"splits that are: {', '.join(splits) or 'none'}"
        )


def monitored(settings: TrainSettings, means: Mapping[str, Mapping[str, float]]) -> float | None:
    """Value of the monitored measure; None without ``settings.monitor``.

    Args:
        settings: that name the measure.
        means: mean of every measure, by split.

    Raises:
        UserError: the split has no such measure.
    """
    if settings.monitor is None:
        return None
    split, _, name = settings.monitor.partition("/")
    if name not in means[split]:
        there = ", ".join(means[split])
        raise UserError(f"train.monitor is {settings.monitor}, but {split} has no measure {name!r}; it has {there}")
    return means[split][name]


def is_better(settings: TrainSettings, value: float, best: float | None) -> bool:
    """Whether a value of the monitored measure beats the best so far: lower for losses and errors, else higher."""
    if not math.isfinite(value):
        return False
    if best is None:
        return True
    falls = (settings.monitor or "").endswith(_LOWER_IS_BETTER)
    return value < best if falls else value > best
