"""XNLI, and the submission files of its evaluation (Conneau et al. 2018; Hu et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from mm_kptm.data.formats.xnli import LABELS, SentencePair, read_xnli
from mm_kptm.datasets.knowledge_settings import KnowledgeFileSettings
from mm_kptm.datasets.labelled import labelled_files
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.settings import by_split
from mm_kptm.datasets.text.sources import pairs
from mm_kptm.datasets.text.xtreme_files import check_files, expected_labels, write_answers
from mm_kptm.errors import UserError
from mm_kptm.tasks.example import Row
from mm_kptm.tasks.text.entailment import Entailment

LANGUAGES = ("ar", "bg", "de", "el", "en", "es", "fr", "hi", "ru", "sw", "th", "tr", "ur", "vi", "zh")


@dataclass(frozen=True, kw_only=True)
class XnliData(KnowledgeFileSettings):
    """XNLI's own files, those of its machine translations, or XTREME's."""

    name: Literal["xnli"]
    languages: tuple[str, ...] = LANGUAGES  #: in the order of the encoder's language ids, where it reads them
    labels: tuple[str, ...] = LABELS  #: in the order of the head's scores; XLM's has neutral before entailment

    def __post_init__(self) -> None:
        super().__post_init__()
        if sorted(self.labels) != sorted(LABELS):
            raise UserError(f"data.labels is {', '.join(self.labels)} but must hold {', '.join(LABELS)}, in any order")


def xnli(data: XnliData, request: DataRequest) -> PreparedData:
    """Entailment in fifteen languages."""
    prepared = labelled_files(data, request, Entailment, read_xnli, pairs, data.labels)
    examples = by_split(data.files, read_xnli)

    def submit(split: str, rows: Sequence[Row], folder: Path) -> list[Path]:
        written = write_submission(rows, folder, split)
        check_submission(folder, split, examples(split))
        return written

    return replace(prepared, submit=submit)


def write_submission(rows: Sequence[Row], folder: Path, split: str = "test") -> list[Path]:
    """XTREME's form: ``xnli/test-de.tsv`` holds one label a line, in the order of that language's pairs."""
    return write_answers(rows, folder, "xnli", split)


def check_submission(folder: Path, split: str, asked: Sequence[SentencePair]) -> None:
    """Reject files that the evaluation would reject or score wrongly.

    Raises:
        UserError: the file of a language is missing, has too many or too few lines, or one that is no label.
    """
    check_files(folder, "xnli", split, expected_labels(asked, LABELS))


XNLI_SUPPLY = TaskDataset(Entailment, XnliData, xnli, read_xnli)
