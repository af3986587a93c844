"""Experiments on pictures: the backbone before an encoder, the contract of features, questions asked and explained."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.experiment.visual.ask import ask_fresh, ask_run
    from mm_kptm.experiment.visual.explanations import explain
else:
    __getattr__ = lazy(
        __name__,
        {
            "ask": ["ask_fresh", "ask_run"],
            "explanations": ["explain"],
        },
    )

__all__ = ["ask_fresh", "ask_run", "explain"]
