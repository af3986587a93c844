"""The measure that ``train.monitor`` names, such as ``dev/accuracy``: is it there, and what is its value."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from mm_kptm.data.sampler import seeded
from mm_kptm.errors import UserError
from mm_kptm.io.records import read_lines
from mm_kptm.train.precision import autocast
from mm_kptm.train.protocol import BatchT, Source, Trainable, module_of
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


@torch.no_grad()
def check_monitored_measure(
    model: Trainable[BatchT], splits: Mapping[str, Source[BatchT]], settings: TrainSettings, device: torch.device
) -> None:
    """Check on the first examples of its split that there is the measure, before anything is trained.

    Raises:
        UserError: the split has no such measure.
    """
    if settings.monitor is None:
        return
    split, module = settings.monitor.partition("/")[0], module_of(model)
    source, training = splits[split], module.training
    batch = source.batch(list(range(min(settings.batch_size, len(source)))), seeded(settings.seed, 0))
    module.eval()
    try:
        with autocast(device, settings.precision):
            names = [*model.measure(batch.to(device))]
    finally:
        module.train(training)
    monitored(settings, {split: dict.fromkeys(names, 0.0)})


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
    return value < best if lower_is_better(settings.monitor or "") else value > best


def out_of_patience(settings: TrainSettings, step: int, best: int) -> bool:
    """Whether ``settings.patience`` evaluations brought no better value; a function of the step and the best one.

    A resumed run therefore stops where an unbroken one does, and goes on when its patience is raised.
    """
    patience, every = settings.patience, settings.eval_every
    return patience is not None and every is not None and step // every - best // every >= patience


def lower_is_better(monitor: str) -> bool:
    """Whether a measure, such as ``dev/loss``, is to fall."""
    return monitor.endswith(_LOWER_IS_BETTER)


def measures_of(file: Path, monitor: str) -> list[tuple[int, float]]:
    """Steps and finite values of a measure, such as ``dev/accuracy``, in the metrics file of a run.

    Raises:
        UserError: the split was evaluated and has no such measure.
    """
    split, _, name = monitor.partition("/")
    of_split = [line for line in read_lines(file, allow_empty=True) if line.text("split") == split]
    if of_split and not any(name in line.values for line in of_split):
        there = ", ".join(key for key in of_split[0].values if key not in ("step", "split", "n"))
        raise UserError(f"{split} has no measure {name!r}; it has {there}")
    return [(line.count("step"), line.get(name, float)) for line in of_split if line.has(name)]
