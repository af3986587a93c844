"""MaRVL: statements about two images from five cultures, in their languages (Liu et al. 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mm_kptm.data.formats.vision.iglue import read_marvl
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.settings import RegionFiles
from mm_kptm.datasets.vision.nlvr2 import statements_about_pairs
from mm_kptm.tasks.vision.nlvr2 import NLVR2

LANGUAGES = ("id", "sw", "ta", "tr", "zh")


@dataclass(frozen=True, kw_only=True)
class MarvlData(RegionFiles):
    """NLVR2's statements in English to learn from, and ``zero_shot/annotations/marvl-*.jsonl`` to be tested on."""

    name: Literal["marvl"]
    max_length: int = 80  #: pieces of a statement that are read, special ones included
    form: Literal["pair", "triplet"] | None = None  #: two readings or one, as the published head has it when null


def marvl(data: MarvlData, request: DataRequest) -> PreparedData:
    """Is a statement true of two images?"""
    return statements_about_pairs(data, request, read_marvl, data.form)


MARVL = TaskDataset(NLVR2, MarvlData, marvl, read_marvl)
