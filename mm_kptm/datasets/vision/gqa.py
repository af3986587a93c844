"""GQA with its published files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from mm_kptm.data.formats.vision.gqa import GqaQuestion, read_gqa, read_gqa_choices
from mm_kptm.data.packing import Packed
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.settings import RegionFiles, by_split, fingerprints
from mm_kptm.datasets.vision.answer_list import answer_choices
from mm_kptm.datasets.vision.sources import about_images, encoding_of, sizes_of
from mm_kptm.datasets.vision.submission import check_answers, write_answers
from mm_kptm.tasks.example import Row
from mm_kptm.tasks.vision.gqa import BINARY, GQA, OPEN, GqaExample
from mm_kptm.tasks.vision.vqa import QuestionSource, one_answer

KEYS = ("questionId", "prediction")  #: of the file that the server takes


@dataclass(frozen=True, kw_only=True)
class GqaData(RegionFiles):
    """GQA's question files, one a split, with region features or pictures of yours."""

    name: Literal["gqa"]
    choices: Path | None = None  #: the file of valid and plausible answers of dev, such as val_choices.json
    answers: Path | None = None  #: answers to choose from, one a line or as JSON; those of the training when null
    min_count: int = 1  #: an answer is learnt when it is that of this many training questions
    max_length: int = 32  #: pieces of a question that are read, special ones included

    @property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprint of the data and the settings that affect them."""
        more = {"choices": self.choices, "answers": self.answers}
        return {**super().fingerprints, **fingerprints({name: path for name, path in more.items() if path is not None})}


def gqa(data: GqaData, request: DataRequest) -> PreparedData:
    """Compositional questions about photographs (Hudson and Manning 2019)."""
    store, encoding = data.store(request), encoding_of(data, request.recipe)
    questions = by_split(data.files, read_gqa)
    usual = [one.answer for one in questions("train") if one.answer is not None]
    answers = answer_choices(usual, min_count=data.min_count, listed=data.answers)
    choices = {} if data.choices is None else read_gqa_choices(data.choices)
    places = {answer: place for place, answer in enumerate(answers)}

    def example(one: GqaQuestion) -> GqaExample:
        allowed = choices.get(one.id)
        return GqaExample(
            id=one.id,
            type=one.structural,
            language="en",
            group=f"image-{one.image}",
            target=one.answer or "",
            balanced=one.balanced,
            kind=OPEN if one.structural == "query" else BINARY,
            common="Common" in one.detailed,
            answer_group=one.group or "",
            entailed=one.entailed,
            valid=None if allowed is None else allowed.valid,
            plausible=None if allowed is None else allowed.plausible,
        )

    def made(asked: Sequence[GqaQuestion]) -> QuestionSource:
        known = [[places[one.answer]] if one.answer in places else [] for one in asked]
        images = store.places_of(one.image for one in asked)
        return QuestionSource(
            about_images(encoding, store, [(one.text, "en") for one in asked], images, asks=True),
            answers,
            Packed.of(answers=known, tenths=[[10] * len(row) for row in known]),
            tuple(map(example, asked)),
        )

    def source(split: str) -> QuestionSource:
        return made(questions(split))

    def submit(split: str, rows: Sequence[Row], folder: Path) -> list[Path]:
        path = folder / f"gqa-{split}.json"
        write_answers(path, [(str(row["id"]), str(row["answer"])) for row in rows], keys=KEYS)
        check(split, path)
        return [path]

    def check(split: str, path: Path) -> None:
        check_answers(path, [one.id for one in questions(split)], keys=KEYS)

    def majority(split: str) -> Mapping[str, float]:
        gold = [one.answer for one in questions(split) if one.answer is not None]
        most = max(set(usual), key=usual.count)
        return {"majority": gold.count(most) / len(gold)} if gold else {}

    return PreparedData(
        sources={split: partial(source, split) for split in data.files},
        model=lambda system: GQA(system, answers, criterion=one_answer),
        sizes=sizes_of(encoding, store),
        heads=GQA.heads(request.recipe, len(answers)),
        fingerprints=data.fingerprints,
        baselines=majority,
        read_file=lambda path: made(read_gqa(path)),
        submit=submit,
        check=check,
    )


GQA_SUPPLY = TaskDataset(GQA, GqaData, gqa, read_gqa)
