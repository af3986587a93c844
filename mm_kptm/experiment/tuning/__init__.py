"""Hyperparameter search over the settings of an experiment."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.experiment.tuning.hyperparameter_search import Sweep, sweep
    from mm_kptm.experiment.tuning.search_space import parse_space
else:
    __getattr__ = lazy(__name__, {"hyperparameter_search": ["Sweep", "sweep"], "search_space": ["parse_space"]})

__all__ = ["Sweep", "parse_space", "sweep"]
