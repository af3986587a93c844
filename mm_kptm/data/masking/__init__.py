"""Static masking as in the released scripts, and mask groups: whole words, phrases and entities."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.data.masking.static import Treatment, budget, hide, shuffled
    from mm_kptm.data.masking.units import NO_GROUP, closed, continued, labelled, whole_words, within_spans
else:
    __getattr__ = lazy(
        __name__,
        {
            "static": ["Treatment", "budget", "hide", "shuffled"],
            "units": ["NO_GROUP", "closed", "continued", "labelled", "whole_words", "within_spans"],
        },
    )

__all__ = [
    "NO_GROUP",
    "Treatment",
    "budget",
    "closed",
    "continued",
    "hide",
    "labelled",
    "shuffled",
    "whole_words",
    "within_spans",
]
