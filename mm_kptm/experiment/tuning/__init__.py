"""Hyperparameter search over the settings of an experiment; :func:`mm_kptm.experiment.sweep` runs it."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.experiment.tuning.search_space import parse_space
else:
    __getattr__ = lazy(__name__, {"search_space": ["parse_space"]})

__all__ = ["parse_space"]
