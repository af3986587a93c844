"""Datasets of facts: LAMA's cloze sentences, triples with descriptions."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.datasets.knowledge.lama import LamaData
    from mm_kptm.datasets.knowledge.triples import TripleData
else:
    __getattr__ = lazy(
        __name__,
        {
            "lama": ["LamaData"],
            "triples": ["TripleData"],
        },
    )

__all__ = ["LamaData", "TripleData"]
