"""Training engine: loop, optimiser, checkpoints and log.

It accesses the model and its data only through the protocols of ``mm_kptm.train.protocol``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mm_kptm.train.checkpoint import Checkpoints, load_weights, read_weights, verify, write_weights
    from mm_kptm.train.evaluation import Evaluation, evaluate
    from mm_kptm.train.loop import Fit, fit
    from mm_kptm.train.protocol import AfterEvaluation, AfterStep, Batch, Source, Trainable
    from mm_kptm.train.settings import TrainSettings

__all__ = [
    "AfterEvaluation",
    "AfterStep",
    "Batch",
    "Checkpoints",
    "Evaluation",
    "Fit",
    "Source",
    "TrainSettings",
    "Trainable",
    "evaluate",
    "fit",
    "load_weights",
    "read_weights",
    "verify",
    "write_weights",
]

_HOMES = {
    "checkpoint": ("Checkpoints", "load_weights", "read_weights", "verify", "write_weights"),
    "evaluation": ("Evaluation", "evaluate"),
    "loop": ("Fit", "fit"),
    "protocol": ("AfterEvaluation", "AfterStep", "Batch", "Source", "Trainable"),
    "settings": ("TrainSettings",),
}


def __getattr__(name: str) -> Any:
    """Lazy import: evaluation alone needs neither the loop nor Accelerate."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
