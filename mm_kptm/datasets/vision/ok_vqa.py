"""OK-VQA with its published files: questions that need knowledge from outside the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mm_kptm.data.formats.vqa_v2 import read_vqa_questions
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.vision.vqa_v2 import VqaV2Data, answering
from mm_kptm.tasks.vision.knowledge_vqa import KnowledgeVQA
from mm_kptm.tasks.vision.vqa import VQA


@dataclass(frozen=True, kw_only=True)
class OkVqaData(VqaV2Data):
    """OK-VQA's own question and annotation files, with region features or pictures of yours."""

    name: Literal["ok-vqa"]  # type: ignore[assignment]  # the name of another data set of the same form
    min_count: int = 5  #: an answer is learnt when it is the most frequent one of this many questions

    @property
    def usual_given(self) -> bool:
        """OK-VQA's annotations name no usual answer; it is counted."""
        return False


def knowledge_vqa(data: OkVqaData, request: DataRequest) -> PreparedData:
    """Questions that need knowledge (Marino et al. 2019), with no facts injected."""
    return answering(data, request, KnowledgeVQA)


def vqa(data: OkVqaData, request: DataRequest) -> PreparedData:
    """The same questions as any others."""
    return answering(data, request, VQA)


KNOWLEDGE_SUPPLY = TaskDataset(KnowledgeVQA, OkVqaData, knowledge_vqa, read_vqa_questions)
VQA_SUPPLY = TaskDataset(VQA, OkVqaData, vqa, read_vqa_questions)
