"""The demonstration on Number World: arms, claims and a gallery of examples."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.suites.number_world.demo.arms import TIERS, Tier, experiments
else:
    __getattr__ = lazy(
        __name__,
        {
            "arms": ["TIERS", "Tier", "experiments"],
        },
    )

__all__ = ["TIERS", "Tier", "experiments"]
