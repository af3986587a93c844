"""xGQA: GQA's questions in eight languages, with English answers (Pfeiffer et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from mm_kptm.data.formats.vision.gqa import GqaQuestion
from mm_kptm.data.formats.vision.iglue import read_xgqa
from mm_kptm.data.packing import Packed
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.settings import RegionFiles, by_split, fingerprints
from mm_kptm.datasets.vision.answer_list import answer_choices
from mm_kptm.datasets.vision.sources import about_images, encoding_of, sizes_of
from mm_kptm.tasks.vision.gqa import BINARY, GQA, OPEN, GqaExample
from mm_kptm.tasks.vision.vqa import QuestionSource, one_answer

LANGUAGES = ("bn", "de", "en", "id", "ko", "pt", "ru", "zh")


@dataclass(frozen=True, kw_only=True)
class XgqaData(RegionFiles):
    """GQA's training questions, and ``zero_shot/testdev_balanced_questions_*.json`` of IGLUE to be tested on."""

    name: Literal["xgqa"]
    answers: Path | None = None  #: answers to choose from, such as trainval_ans2label.json; those of training when null
    min_count: int = 1  #: an answer is learnt when it is that of this many training questions
    max_length: int = 40  #: pieces of a question that are read, special ones included

    @property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprint of the data and the settings that affect them."""
        listed = {} if self.answers is None else fingerprints({"answers": self.answers})
        return {**super().fingerprints, **listed}


def xgqa(data: XgqaData, request: DataRequest) -> PreparedData:
    """Compositional questions about photographs, asked in many languages and answered in English."""
    store, encoding = data.store(request), encoding_of(data, request.recipe)
    questions = by_split(data.files, read_xgqa)
    usual = [one.answer for one, _ in questions("train") if one.answer is not None]
    answers = answer_choices(usual, min_count=data.min_count, listed=data.answers)
    places = {answer: place for place, answer in enumerate(answers)}

    def example(one: GqaQuestion, language: str) -> GqaExample:
        kind = OPEN if one.structural == "query" else BINARY
        group = f"image-{one.image}"
        return GqaExample(one.id, one.structural, language, group, one.answer or "", balanced=one.balanced, kind=kind)

    def made(asked: Sequence[tuple[GqaQuestion, str]]) -> QuestionSource:
        known = [[places[one.answer]] if one.answer in places else [] for one, _ in asked]
        images = store.places_of(one.image for one, _ in asked)
        said = [(one.text, language) for one, language in asked]
        return QuestionSource(
            about_images(encoding, store, said, images, asks=True),
            answers,
            Packed.of(answers=known, tenths=[[10] * len(row) for row in known]),
            tuple(example(one, language) for one, language in asked),
        )

    def source(split: str) -> QuestionSource:
        return made(questions(split))

    def majority(split: str) -> Mapping[str, float]:
        gold = [one.answer for one, _ in questions(split) if one.answer is not None]
        most = max(set(usual), key=usual.count)
        return {"majority": gold.count(most) / len(gold)} if gold else {}

    return PreparedData(
        sources={split: partial(source, split) for split in data.files},
        model=lambda system: GQA(system, answers, criterion=one_answer),
        sizes=sizes_of(encoding, store),
        heads=GQA.heads(request.recipe, len(answers)),
        fingerprints=data.fingerprints,
        baselines=majority,
        read_file=lambda path: made(read_xgqa(path)),
    )


XGQA = TaskDataset(GQA, XgqaData, xgqa, read_xgqa)
