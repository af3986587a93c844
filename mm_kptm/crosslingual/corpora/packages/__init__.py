"""Parallel text out of packages of public registries: which packages, how their texts are read, and what is written."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.crosslingual.corpora.packages.builder import build, chosen
    from mm_kptm.crosslingual.corpora.packages.published import PACKAGES
    from mm_kptm.crosslingual.corpora.packages.texts import kinds
else:
    __getattr__ = lazy(
        __name__,
        {
            "builder": ["build", "chosen"],
            "published": ["PACKAGES"],
            "texts": ["kinds"],
        },
    )

__all__ = ["PACKAGES", "build", "chosen", "kinds"]
