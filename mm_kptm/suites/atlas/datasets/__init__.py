"""Atlas as datasets of an experiment: one file for each task."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.suites.atlas.datasets.settings import AtlasData
else:
    __getattr__ = lazy(__name__, {"settings": ["AtlasData"]})

__all__ = ["AtlasData"]
