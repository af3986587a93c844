"""TyDi QA, the gold-passage task: questions asked in nine languages by their speakers (Clark et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

from mm_kptm.data.formats.squad import read_squad
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.text.question_files import QuestionFiles, question_files
from mm_kptm.tasks.text.question_answering import QuestionAnswering

LANGUAGES = ("ar", "bn", "en", "fi", "id", "ko", "ru", "sw", "te")


@dataclass(frozen=True, kw_only=True)
class TydiqaData(QuestionFiles):
    """XTREME's files, one per language (``tydiqa.goldp.fi.dev.json``), or the released one of all languages."""

    name: Literal["tydiqa"]


def tydiqa(data: TydiqaData, request: DataRequest) -> PreparedData:
    """Questions about passages in nine languages, scored by SQuAD's rule."""
    return question_files(data, request, folder="tydiqa", normalisation="squad")


TYDIQA = TaskDataset(QuestionAnswering, TydiqaData, tydiqa, partial(read_squad, language="en"))
