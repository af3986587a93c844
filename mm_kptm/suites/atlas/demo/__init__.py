"""The demonstration on Atlas: arms, claims and drawings for the report."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.suites.atlas.demo.arms import Tier, experiments, tiers
else:
    __getattr__ = lazy(__name__, {"arms": ["Tier", "experiments", "tiers"]})

__all__ = ["Tier", "experiments", "tiers"]
