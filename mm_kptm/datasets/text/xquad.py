"""XQuAD, and SQuAD from which it was translated (Artetxe et al. 2020; Rajpurkar et al. 2016)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

from mm_kptm.data.formats.squad import read_squad
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.text.question_files import QuestionFiles, question_files
from mm_kptm.tasks.text.question_answering import QuestionAnswering

LANGUAGES = ("ar", "de", "el", "en", "es", "hi", "ru", "th", "tr", "vi", "zh")


@dataclass(frozen=True, kw_only=True)
class XquadData(QuestionFiles):
    """SQuAD's and XQuAD's files: ``squad/train-v1.1.json`` to learn from, ``xquad/xquad.*.json`` to be tested on."""

    name: Literal["xquad"]


def xquad(data: XquadData, request: DataRequest) -> PreparedData:
    """Questions about passages in eleven languages, scored by SQuAD's rule in all of them."""
    return question_files(data, request, folder="xquad", normalisation="squad")


XQUAD = TaskDataset(QuestionAnswering, XquadData, xquad, partial(read_squad, language="en"))
