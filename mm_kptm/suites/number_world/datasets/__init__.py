"""Number World as datasets of an experiment: one source of examples for each task."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.suites.number_world.datasets.settings import NumberWorldData
else:
    __getattr__ = lazy(
        __name__,
        {
            "settings": ["NumberWorldData"],
        },
    )

__all__ = ["NumberWorldData"]
