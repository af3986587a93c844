"""MLQA: questions and passages in seven languages, also in different ones (Lewis et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

from mm_kptm.data.formats.squad import read_squad
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.text.question_files import QuestionFiles, question_files
from mm_kptm.tasks.text.question_answering import QuestionAnswering

LANGUAGES = ("ar", "de", "en", "es", "hi", "vi", "zh")


@dataclass(frozen=True, kw_only=True)
class MlqaData(QuestionFiles):
    """MLQA's files, named by the languages of passage and question: ``test-context-de-question-en.json``."""

    name: Literal["mlqa"]


def mlqa(data: MlqaData, request: DataRequest) -> PreparedData:
    """Questions about passages, scored by the rules of the passage's language.

    Files of two languages are the generalised task (G-XLT); a submission to XTREME has those of one language.
    """
    return question_files(data, request, folder="mlqa", normalisation="mlqa")


MLQA = TaskDataset(QuestionAnswering, MlqaData, mlqa, partial(read_squad, language="en"))
