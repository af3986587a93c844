"""PAWS-X: do two sentences of the same words mean the same? (Yang et al. 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from mm_kptm.data.formats.xtreme import PARAPHRASE, read_paws_x
from mm_kptm.datasets.knowledge_settings import KnowledgeFileSettings
from mm_kptm.datasets.labelled import labelled_files
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.settings import by_split
from mm_kptm.datasets.text.sources import pairs
from mm_kptm.datasets.text.xtreme_files import check_files, expected_labels, write_answers
from mm_kptm.tasks.example import Row
from mm_kptm.tasks.text.sentence_classification import SentenceClassification

LANGUAGES = ("de", "en", "es", "fr", "ja", "ko", "zh")


@dataclass(frozen=True, kw_only=True)
class PawsXData(KnowledgeFileSettings):
    """XTREME's files (``pawsx/test-de.tsv``) or PAWS-X's own (``de/test_2k.tsv``)."""

    name: Literal["paws-x"]


def paws_x(data: PawsXData, request: DataRequest) -> PreparedData:
    """Paraphrases (1) and sentences of the same words that mean something else (0)."""
    prepared = labelled_files(data, request, SentenceClassification, read_paws_x, pairs, PARAPHRASE)
    examples = by_split(data.files, read_paws_x)

    def submit(split: str, rows: Sequence[Row], folder: Path) -> list[Path]:
        written = write_answers(rows, folder, "pawsx", split)
        check_files(folder, "pawsx", split, expected_labels(examples(split), PARAPHRASE))
        return written

    return replace(prepared, submit=submit)


PAWS_X = TaskDataset(SentenceClassification, PawsXData, paws_x, read_paws_x)
