"""VizWiz with its published files: answers, and whether there is one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal

from mm_kptm.data.formats.jsonl import AskedImage
from mm_kptm.data.formats.vision.vizwiz import VizWizQuestion, read_vizwiz
from mm_kptm.data.packing import Packed
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.settings import RegionFiles, by_split, fingerprints
from mm_kptm.datasets.stored_regions import ImageStore
from mm_kptm.datasets.vision import sources as image_sources
from mm_kptm.datasets.vision.answer_list import answer_choices
from mm_kptm.datasets.vision.submission import check_answers, write_answers
from mm_kptm.preprocessing.inputs import IntArray
from mm_kptm.tasks.example import Example, Row
from mm_kptm.tasks.labelling import LabelledSource
from mm_kptm.tasks.metrics.vqa import vqa_accuracy
from mm_kptm.tasks.vision.answerability import ANSWERABLE, UNANSWERABLE, Answerability
from mm_kptm.tasks.vision.vqa import VQA, QuestionSource

ANSWER, JUDGED = ("image", "answer"), ("image", "answerable")  #: keys of the files that the server takes
LABELS = (UNANSWERABLE, ANSWERABLE)  #: in the order of the published numbers, 0 and 1


@dataclass(frozen=True, kw_only=True)
class VizWizData(RegionFiles):
    """VizWiz's question files, one a split, with region features or pictures of yours."""

    name: Literal["vizwiz"]
    answers: Path | None = None  #: answers to choose from, one a line or as JSON; those of the training when null
    min_count: int = 3  #: an answer is learnt when it is the usual one of this many training questions
    max_length: int = 40  #: pieces of a question that are read, special ones included

    @property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprint of the data and the settings that affect them."""
        listed = {} if self.answers is None else fingerprints({"answers": self.answers})
        return {**super().fingerprints, **listed}


def vqa(data: VizWizData, request: DataRequest) -> PreparedData:
    """Questions of blind people (Gurari et al. 2018)."""
    store, encoding = data.store(request), image_sources.encoding_of(data, request.recipe)
    questions = by_split(data.files, read_vizwiz)
    usual = [image_sources.usual(one.answers) for one in questions("train") if one.answers]
    answers = answer_choices(usual, min_count=data.min_count, listed=data.answers)
    names = {_name(store, one): one.image for split in data.files for one in questions(split)}

    def made(asked: Sequence[VizWizQuestion]) -> QuestionSource:
        examples = [
            AskedImage(_name(store, one), _name(store, one), one.text, one.answers, "en", one.answer_type)
            for one in asked
        ]
        return image_sources.questions(examples, answers, encoding, store)

    def submit(split: str, rows: Sequence[Row], folder: Path) -> list[Path]:
        path = folder / f"vizwiz-{split}.json"
        write_answers(path, [(names[str(row["id"])], str(row["answer"])) for row in rows], keys=ANSWER)
        check(split, path)
        return [path]

    def check(split: str, path: Path) -> None:
        check_answers(path, [one.image for one in questions(split)], keys=ANSWER)

    def majority(split: str) -> Mapping[str, float]:
        given = [one.answers for one in questions(split) if one.answers]
        most = Counter(usual).most_common(1)[0][0]
        return {"majority": sum(vqa_accuracy(most, people) for people in given) / len(given)} if given else {}

    return PreparedData(
        sources=_sources(data, questions, made),
        model=lambda system: VQA(system, answers),
        sizes=image_sources.sizes_of(encoding, store),
        heads=VQA.heads(request.recipe, len(answers)),
        fingerprints=data.fingerprints,
        baselines=majority,
        read_file=lambda path: made(read_vizwiz(path)),
        submit=submit,
        check=check,
    )


def answerability(data: VizWizData, request: DataRequest) -> PreparedData:
    """Whether these questions can be answered from their images."""
    store, encoding = data.store(request), image_sources.encoding_of(data, request.recipe)
    questions = by_split(data.files, read_vizwiz)

    def made(asked: Sequence[VizWizQuestion]) -> LabelledSource:
        examples = [(one.text, "en") for one in asked]
        labels = [[] if one.answerable is None else [int(one.answerable)] for one in asked]
        about = [
            Example(one.image, one.answer_type, "en", f"image-{one.image}", LABELS[own[0]] if own else "")
            for one, own in zip(asked, labels, strict=True)
        ]
        shown = image_sources.about_images(encoding, store, examples, _places(store, asked))
        return LabelledSource(shown, LABELS, Packed.of(labels=labels), tuple(about))

    def submit(split: str, rows: Sequence[Row], folder: Path) -> list[Path]:
        path = folder / f"vizwiz-answerability-{split}.json"
        write_answers(path, [(str(row["id"]), float(row["p"])) for row in rows], keys=JUDGED)
        check(split, path)
        return [path]

    def check(split: str, path: Path) -> None:
        check_answers(path, [one.image for one in questions(split)], keys=JUDGED, kind=float)

    return PreparedData(
        sources=_sources(data, questions, made),
        model=lambda system: Answerability(system, LABELS),
        sizes=image_sources.sizes_of(encoding, store),
        heads=Answerability.heads(request.recipe, len(LABELS)),
        fingerprints=data.fingerprints,
        read_file=lambda path: made(read_vizwiz(path)),
        submit=submit,
        check=check,
    )


def _sources(
    data: VizWizData,
    questions: Callable[[str], Sequence[VizWizQuestion]],
    made: Callable[[Sequence[VizWizQuestion]], QuestionSource | LabelledSource],
) -> dict[str, Callable[[], QuestionSource | LabelledSource]]:
    def source(split: str) -> QuestionSource | LabelledSource:
        return made(questions(split))

    return {split: partial(source, split) for split in data.files}


def _places(store: ImageStore, asked: Sequence[VizWizQuestion]) -> IntArray:
    return image_sources.stored(store, [(one.image, PurePosixPath(one.image).stem) for one in asked])


def _name(store: ImageStore, one: VizWizQuestion) -> str:
    """The name of an image in the store: the file's, or its stem."""
    return one.image if one.image in store.places else PurePosixPath(one.image).stem


VQA_SUPPLY = TaskDataset(VQA, VizWizData, vqa, read_vizwiz)
ANSWERABILITY_SUPPLY = TaskDataset(Answerability, VizWizData, answerability, read_vizwiz)
