"""xFlickr&CO: captions of photographs in eight languages, to be retrieved (Bugliarello et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np

from mm_kptm.data.formats.captions import Described
from mm_kptm.data.formats.vision.iglue import read_xflickrco
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.settings import RegionFiles, by_split
from mm_kptm.datasets.vision.sources import captions, encoding_of, sizes_of
from mm_kptm.tasks.heads import requested_heads
from mm_kptm.tasks.vision.retrieval import CaptionSource, Retrieval

LANGUAGES = ("de", "en", "es", "id", "ja", "ru", "tr", "zh")


@dataclass(frozen=True, kw_only=True)
class XflickrcoData(RegionFiles):
    """IGLUE's files, ``annotations/en/train.jsonl`` to learn from, ``annotations/*/test.jsonl`` to be tested on."""

    name: Literal["xflickrco"]
    max_length: int = 80  #: pieces of a caption that are read, special ones included


def xflickrco(data: XflickrcoData, request: DataRequest) -> PreparedData:
    """Retrieval among the images and captions of one language at a time."""
    store, encoding = data.store(request), encoding_of(data, request.recipe)
    images = by_split(data.files, read_xflickrco)

    def made(described: Sequence[Described]) -> CaptionSource:
        found = captions(described, encoding, store)
        languages = _spoken(described)
        pools = np.array([languages.index(one.language) for one in found.captions], dtype=np.int64)
        return replace(found, pools=pools)

    def source(split: str) -> CaptionSource:
        return made(images(split))

    def chance(split: str) -> Mapping[str, float]:
        counts = [sum(one.language == language for one in images(split)) for language in _spoken(images(split))]
        return {"chance-recall@1": sum(1 / count for count in counts) / len(counts)}

    return PreparedData(
        sources={split: partial(source, split) for split in data.files},
        model=Retrieval,
        sizes=sizes_of(encoding, store),
        heads=requested_heads(request.recipe, Retrieval.HEADS),
        fingerprints=data.fingerprints,
        baselines=chance,
        read_file=lambda path: made(read_xflickrco(path)),
    )


def _spoken(described: Sequence[Described]) -> list[str]:
    return sorted({one.language for one in described})


XFLICKRCO = TaskDataset(Retrieval, XflickrcoData, xflickrco, read_xflickrco)
