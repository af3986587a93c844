"""VQA v2 with its published files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Literal

from mm_kptm.data.formats.vqa_v2 import read_vqa_questions
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.settings import ImageSettings, fingerprints
from mm_kptm.datasets.stored_regions import region_sizes
from mm_kptm.datasets.vision.answer_list import answer_choices
from mm_kptm.datasets.vision.vqa_v2_source import LONGEST, VqaV2, check_submission, write_submission
from mm_kptm.errors import UserError
from mm_kptm.tasks.example import Row
from mm_kptm.tasks.metrics.vqa import normalised, vqa_accuracy
from mm_kptm.tasks.vision.vqa import VQA, QuestionSource


@dataclass(frozen=True, kw_only=True)
class VqaV2Data(ImageSettings):
    """VQA v2's own question and annotation files, with region features or pictures of yours."""

    name: Literal["vqa-v2"]
    questions: Path  #: a file such as v2_OpenEnded_mscoco_train2014_questions.json
    annotations: Path  #: a file such as v2_mscoco_train2014_annotations.json
    dev_questions: Path | None = None  #: questions to evaluate on
    dev_annotations: Path | None = None  #: annotations to evaluate with
    test_questions: Path | None = None  #: questions to answer, whose answers nobody published
    answers: Path | None = None  #: answers to choose from, one a line or as JSON; counted in the training when null
    min_count: int = 9  #: an answer is learnt when it is the most frequent one of this many questions
    max_length: int = LONGEST  #: pieces of a question that are read
    tags: bool = False  #: whether the names of an image's objects stand behind a question about it, as Oscar reads them

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.dev_questions is None) != (self.dev_annotations is None):
            raise UserError("data.dev_questions and data.dev_annotations belong together; give both or neither")

    @property
    def usual_given(self) -> bool:
        """Whether the annotations name the usual answer of a question."""
        return True

    @property
    def files(self) -> dict[str, tuple[Path, Path | None]]:
        """Questions and annotations of every split there is."""
        splits: dict[str, tuple[Path, Path | None]] = {"train": (self.questions, self.annotations)}
        if self.dev_questions is not None:
            splits["dev"] = (self.dev_questions, self.dev_annotations)
        if self.test_questions is not None:
            splits["test"] = (self.test_questions, None)
        return splits

    @property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprint of the data and the settings that affect them."""
        both = ("questions", "annotations")
        found = {**self.tokenizer_files, **({} if self.answers is None else {"answers": self.answers})}
        for split, files in self.files.items():
            found |= {f"{split} {what}": file for what, file in zip(both, files, strict=True) if file is not None}
        return fingerprints(found)


def vqa(data: VqaV2Data, request: DataRequest) -> PreparedData:
    """Open-ended questions about photographs (Goyal et al. 2017)."""
    return answering(data, request, VQA)


def answering(data: VqaV2Data, request: DataRequest, task: type[VQA]) -> PreparedData:
    """Questions in the files of VQA v2, or of a data set of that form, for one of the tasks that answer them."""
    tokenizer = data.tokenizer()
    store = data.store(request)

    @cache
    def read(split: str) -> VqaV2:
        return VqaV2.read(*data.files[split], usual_given=data.usual_given)

    usual = read("train").answers(min_count=data.min_count) if data.answers is None else ()
    given = [one.most_frequent for one in read("train").annotations.values()] if data.answers is not None else ()
    answers = usual or answer_choices(map(normalised, given), min_count=1, listed=data.answers)

    def made(part: VqaV2) -> QuestionSource:
        return part.source(
            answers, tokenizer, store, max_length=data.max_length, format=request.recipe.text, tags=data.tags
        )

    def source(split: str) -> QuestionSource:
        return made(read(split))

    def submit(split: str, rows: Sequence[Row], folder: Path) -> list[Path]:
        path = folder / f"{data.name}-{split}.json"
        write_submission(rows, path)
        check(split, path)
        return [path]

    def check(split: str, path: Path) -> None:
        check_submission(path, read(split).questions)

    def score(split: str) -> Mapping[str, float]:
        given = [annotation.answers for annotation in read(split).annotations.values()]
        most = answers[0]
        return {"majority": sum(vqa_accuracy(most, people) for people in given) / len(given)} if given else {}

    return PreparedData(
        sources={split: partial(source, split) for split in data.files},
        model=lambda system: task(system, answers),
        sizes={"vocab_size": len(tokenizer), **region_sizes(store)},
        heads=task.heads(request.recipe, len(answers)),
        read_file=lambda path: made(VqaV2.read(path)),
        submit=submit,
        check=check,
        fingerprints=data.fingerprints,
        baselines=score,
    )


VQA_SUPPLY = TaskDataset(VQA, VqaV2Data, vqa, read_vqa_questions)
