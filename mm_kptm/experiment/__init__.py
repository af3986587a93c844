"""An experiment: its file becomes encoder, knowledge, objectives, task and data, and a run folder."""

from mm_kptm.experiment.comparison import Compared, compare
from mm_kptm.experiment.run import evaluate, train
from mm_kptm.suites.number_world.demo.demo import Demonstration, demo

__all__ = ["Compared", "Demonstration", "compare", "demo", "evaluate", "train"]
