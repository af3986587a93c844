"""The demonstration on Atlas: arms, claims and drawings for the report."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.suites.atlas.demo.arms import Tier, experiments, tiers
    from mm_kptm.suites.atlas.demo.demo import Demonstration
else:
    __getattr__ = lazy(__name__, {"arms": ["Tier", "experiments", "tiers"], "demo": ["Demonstration"]})

__all__ = ["Demonstration", "Tier", "experiments", "tiers"]
