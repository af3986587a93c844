"""XVNLI: visual entailment in five languages (Bugliarello et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mm_kptm.data.formats.vision.iglue import read_xvnli
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.settings import RegionFiles
from mm_kptm.datasets.vision.snli_ve import hypotheses_about_images
from mm_kptm.tasks.vision.visual_entailment import VisualEntailment

LANGUAGES = ("ar", "en", "es", "fr", "ru")


@dataclass(frozen=True, kw_only=True)
class XvnliData(RegionFiles):
    """IGLUE's files, ``annotations/en/train.jsonl`` to learn from, ``annotations/*/test.jsonl`` to be tested on."""

    name: Literal["xvnli"]
    max_length: int = 80  #: pieces of a hypothesis that are read, special ones included


def xvnli(data: XvnliData, request: DataRequest) -> PreparedData:
    """Hypotheses about photographs; the photograph is the premise."""
    return hypotheses_about_images(data, request, read_xvnli)


XVNLI = TaskDataset(VisualEntailment, XvnliData, xvnli, read_xvnli)
