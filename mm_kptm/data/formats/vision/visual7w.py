"""Reader of Visual7W's questions with four answers to choose from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mm_kptm.errors import UserError
from mm_kptm.io.records import Record, once, one_of, read_json

SPLITS = {"train": "train", "val": "dev", "test": "test"}


@dataclass(frozen=True)
class ChoiceQuestion:
    """A question about an image with candidate answers."""

    id: str
    image: tuple[str, ...]  #: possible names in a region store
    question: str
    choices: tuple[str, ...]
    answer: int | None  #: place of the right one
    type: str
    split: str
    language: str = "en"


def read_visual7w(path: str | Path) -> tuple[ChoiceQuestion, ...]:
    """The file ``dataset_v7w_telling.json`` (Zhu et al. 2016): images with their questions.

    The right answer comes first here and is put in a place that follows from the question's id, so that no model can
    learn the place.

    Raises:
        UserError: the file cannot be read, a key is missing or of another kind, a split is unknown, an id is twice.
    """
    questions, seen = [], dict[str, str]()
    for image in Record.of(read_json(path), str(path)).records("images"):
        file = image.name("filename", "image_id")
        split = SPLITS[one_of(image.get("split", str), tuple(SPLITS), f"{image.place}: 'split'")]
        names = (file, PurePosixPath(file).stem, image.name("image_id"))
        for pair in image.records("qa_pairs"):
            id_ = pair.name("qa_id")
            once(id_, pair.place, seen, "question")
            answer, wrong = pair.get("answer", str), pair.texts("multiple_choices")
            if answer in wrong:
                raise UserError(f"{pair.place}: the answer {answer!r} is also among 'multiple_choices', the wrong ones")
            place = sum(map(ord, id_)) % (len(wrong) + 1)
            choices = (*wrong[:place], answer, *wrong[place:])
            questions.append(
                ChoiceQuestion(id_, names, pair.get("question", str), choices, place, pair.text("type", "what"), split)
            )
    return tuple(questions)
