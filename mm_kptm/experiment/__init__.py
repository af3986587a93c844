"""An experiment: its file becomes encoder, knowledge, objectives, task and data, and a run folder."""

from mm_kptm.experiment.comparison import Compared, compare
from mm_kptm.experiment.run import evaluate, train

__all__ = ["Compared", "compare", "evaluate", "train"]
