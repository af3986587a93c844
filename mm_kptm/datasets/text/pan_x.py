"""PAN-X, or WikiAnn: names of persons, organisations and places in many languages (Pan et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mm_kptm.data.formats.xtreme import ENTITY_TAGS, read_pan_x
from mm_kptm.datasets.knowledge_settings import KnowledgeFileSettings
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.text.word_files import word_files
from mm_kptm.tasks.text.tagging import NamedEntities

LANGUAGES = (
    "af", "ar", "bg", "bn", "de", "el", "en", "es", "et", "eu", "fa", "fi", "fr", "he", "hi", "hu", "id", "it", "ja",
    "jv", "ka", "kk", "ko", "ml", "mr", "ms", "my", "nl", "pt", "ru", "sw", "ta", "te", "th", "tl", "tr", "ur", "vi",
    "yo", "zh",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PanXData(KnowledgeFileSettings):
    """A word and its tag a line: XTREME's ``panx/test-de.tsv``, or WikiAnn's ``de/test`` with ``de:`` before words."""

    name: Literal["pan-x"]


def pan_x(data: PanXData, request: DataRequest) -> PreparedData:
    """Names among words."""
    return word_files(data, request, NamedEntities, read_pan_x, ENTITY_TAGS, folder="panx")


PAN_X = TaskDataset(NamedEntities, PanXData, pan_x, read_pan_x)
