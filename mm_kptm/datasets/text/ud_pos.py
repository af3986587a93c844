"""UD-POS: universal parts of speech in many languages (Nivre et al. 2016), in XTREME's files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mm_kptm.data.formats.xtreme import UNIVERSAL_TAGS, read_parts_of_speech
from mm_kptm.datasets.knowledge_settings import KnowledgeFileSettings
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.text.word_files import word_files
from mm_kptm.tasks.text.parts_of_speech import PartsOfSpeech

LANGUAGES = (
    "af", "ar", "bg", "de", "el", "en", "es", "et", "eu", "fa", "fi", "fr", "he", "hi", "hu", "id", "it", "ja", "kk",
    "ko", "mr", "nl", "pt", "ru", "ta", "te", "th", "tl", "tr", "ur", "vi", "yo", "zh",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class UdPosData(KnowledgeFileSettings):
    """A word and its tag a line, and an empty line between sentences: ``udpos/test-de.tsv``."""

    name: Literal["ud-pos"]


def ud_pos(data: UdPosData, request: DataRequest) -> PreparedData:
    """Parts of speech of words."""
    return word_files(data, request, PartsOfSpeech, read_parts_of_speech, UNIVERSAL_TAGS, folder="udpos")


UD_POS = TaskDataset(PartsOfSpeech, UdPosData, ud_pos, read_parts_of_speech)
