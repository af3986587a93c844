"""Static masking as in the released scripts, and mask groups: whole words, phrases and entities."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.data.masking.static import Treatment, budget, mask_units, shuffled
    from mm_kptm.data.masking.units import NO_GROUP, closed, continued, labelled, whole_words, within_spans
else:
    __getattr__ = lazy(
        __name__,
        {
            "static": ["Treatment", "budget", "mask_units", "shuffled"],
            "units": ["NO_GROUP", "closed", "continued", "labelled", "whole_words", "within_spans"],
        },
    )

__all__ = [
    "NO_GROUP",
    "Treatment",
    "budget",
    "closed",
    "continued",
    "labelled",
    "mask_units",
    "shuffled",
    "whole_words",
    "within_spans",
]
