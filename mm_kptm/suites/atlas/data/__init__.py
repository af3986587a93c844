"""The data of Atlas: an embedded tier, and the building of larger ones from package archives."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.suites.atlas.data.atlas import Atlas, open_atlas
    from mm_kptm.suites.atlas.data.concepts import Concept
else:
    __getattr__ = lazy(__name__, {"atlas": ["Atlas", "open_atlas"], "concepts": ["Concept"]})

__all__ = ["Atlas", "Concept", "open_atlas"]
