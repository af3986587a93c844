"""MaRVL: statements about two images from five cultures, in their languages (Liu et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from mm_kptm.data.formats.vision.iglue import read_marvl
from mm_kptm.data.formats.vision.nlvr2 import PairStatement
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.settings import RegionFiles, by_split
from mm_kptm.datasets.stored_regions import provider_of
from mm_kptm.datasets.vision.sources import about_images, reading_of, sizes_of, stored
from mm_kptm.tasks.example import Example
from mm_kptm.tasks.vision.nlvr2 import NLVR2, UNKNOWN, VERDICTS, ImagePairSource

LANGUAGES = ("id", "sw", "ta", "tr", "zh")


@dataclass(frozen=True, kw_only=True)
class MarvlData(RegionFiles):
    """NLVR2's statements in English to learn from, and ``zero_shot/annotations/marvl-*.jsonl`` to be tested on."""

    name: Literal["marvl"]
    max_length: int = 80  #: pieces of a statement that are read, special ones included
    form: Literal["pair", "triplet"] | None = None  #: two readings or one, as the published head has it when null


def marvl(data: MarvlData, request: DataRequest) -> PreparedData:
    """Is a statement true of two images?"""
    store, reading = data.store(request), reading_of(data, request.recipe)
    statements = by_split(data.files, read_marvl)

    def made(said: Sequence[tuple[PairStatement, str]]) -> ImagePairSource:
        left, right = (stored(store, [getattr(one, side) for one, _ in said]) for side in ("left", "right"))
        truth = [UNKNOWN if one.label is None else VERDICTS.index(one.label) for one, _ in said]
        return ImagePairSource(
            about_images(reading, store, [(one.text, language) for one, language in said], left).texts,
            provider_of(store),
            left,
            right,
            np.array(truth, dtype=np.int64),
            tuple(Example(one.id, "statement", language, one.group, one.label or "") for one, language in said),
        )

    def source(split: str) -> ImagePairSource:
        return made(statements(split))

    return PreparedData(
        sources={split: partial(source, split) for split in data.files},
        model=lambda system: NLVR2(system, form=data.form),
        sizes=sizes_of(reading, store),
        heads=NLVR2.heads(request.recipe, data.form),
        fingerprints=data.fingerprints,
        baselines=lambda split: {"chance": 0.5},
        read_file=lambda path: made(read_marvl(path)),
    )


MARVL = TaskDataset(NLVR2, MarvlData, marvl, read_marvl)
