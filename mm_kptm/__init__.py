"""Multimodal and knowledge-enhanced pretrained Transformers: every published system on one core."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mm_kptm.experiment.api import TrainedRun, compare, evaluate, fit
    from mm_kptm.models.trace import trace
    from mm_kptm.systems.discovery import catalogue
    from mm_kptm.systems.hub import push
    from mm_kptm.systems.pretrained import build, load
    from mm_kptm.systems.saved import save
else:
    __getattr__ = lazy(
        __name__,
        {
            "experiment.api": ["TrainedRun", "compare", "evaluate", "fit"],
            "models.trace": ["trace"],
            "systems.discovery": ["catalogue"],
            "systems.hub": ["push"],
            "systems.pretrained": ["build", "load"],
            "systems.saved": ["save"],
        },
    )

__all__ = [
    "TrainedRun",
    "__version__",
    "build",
    "catalogue",
    "compare",
    "evaluate",
    "fit",
    "load",
    "push",
    "save",
    "trace",
]
