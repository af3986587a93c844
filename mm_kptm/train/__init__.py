"""The training engine: a loop, its optimiser, its checkpoints and its log.

It sees a model and its data only through the protocols of ``mm_kptm.train.protocol``.
"""

from mm_kptm.train.checkpoint import Checkpoints, load_weights, read_weights, verify, write_weights
from mm_kptm.train.evaluation import Evaluation, evaluate
from mm_kptm.train.loop import Fit, fit
from mm_kptm.train.protocol import Batch, Source, Trainable
from mm_kptm.train.settings import TrainSettings

__all__ = [
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
