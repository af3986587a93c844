"""Experiments: from a settings file to encoder, knowledge, objectives, task, data and a run folder."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mm_kptm.experiment.comparison import Compared, compare
    from mm_kptm.experiment.preview import DryRun, dry_run
    from mm_kptm.experiment.run import evaluate, train
    from mm_kptm.experiment.tuning.hyperparameter_search import Sweep, sweep

__all__ = ["Compared", "DryRun", "Sweep", "compare", "dry_run", "evaluate", "sweep", "train"]

_HOMES = {
    "Compared": "comparison",
    "DryRun": "preview",
    "Sweep": "tuning.hyperparameter_search",
    "compare": "comparison",
    "dry_run": "preview",
    "evaluate": "run",
    "sweep": "tuning.hyperparameter_search",
    "train": "run",
}


def __getattr__(name: str) -> Any:
    """Lazy import: reading settings does not import what runs them."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
