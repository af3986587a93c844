"""Readers of VQA v2's files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from sys import intern

from mm_kptm.errors import UserError
from mm_kptm.io.collected import collected
from mm_kptm.io.records import Record, each_entry, once


@dataclass(frozen=True, slots=True)
class VqaQuestion:
    """One entry of a questions file of VQA v2 (Goyal et al. 2017)."""

    id: int
    image: int
    text: str


@dataclass(frozen=True, slots=True)
class VqaAnnotation:
    """One entry of an annotations file of VQA v2: the answers of ten annotators."""

    question: int
    image: int
    answers: tuple[str, ...]
    most_frequent: str  #: the field ``multiple_choice_answer``
    question_type: str
    answer_type: str  #: yes/no, number or other


@collected
def read_vqa_questions(path: str | Path) -> Iterator[VqaQuestion]:
    """The questions of a file such as ``v2_OpenEnded_mscoco_train2014_questions.json``, in its order.

    Raises:
        UserError: as :func:`read_json`; a key is missing or of another type; a question is there twice.
    """
    seen: dict[str, str] = {}
    for entry in each_entry(path, "questions"):
        question = VqaQuestion(entry.get("question_id", int), entry.get("image_id", int), entry.get("question", str))
        once(question.id, entry.place, seen, "question")
        yield question


@collected
def read_vqa_annotations(path: str | Path) -> Iterator[VqaAnnotation]:
    """The annotations of a file such as ``v2_mscoco_train2014_annotations.json``, in its order.

    Raises:
        UserError: as :func:`read_vqa_questions`; an annotation without answers.
    """
    seen: dict[str, str] = {}
    for entry in each_entry(path, "annotations"):
        given = entry.get("answers", list)
        if not given:
            raise UserError(f"{entry.place}: 'answers' is empty, but accuracy needs at least one")
        people = (Record.of(person, f"{entry.place}, answers[{at}]") for at, person in enumerate(given))
        annotation = VqaAnnotation(
            question=entry.get("question_id", int),
            image=entry.get("image_id", int),
            answers=tuple(intern(person.get("answer", str)) for person in people),
            most_frequent=intern(entry.get("multiple_choice_answer", str)),
            question_type=intern(entry.get("question_type", str)),
            answer_type=intern(entry.get("answer_type", str)),
        )
        once(annotation.question, entry.place, seen, "question")
        yield annotation


def annotated(
    questions: tuple[VqaQuestion, ...],
    annotations: tuple[VqaAnnotation, ...],
    *,
    questions_file: str | Path,
    annotations_file: str | Path,
) -> dict[int, VqaAnnotation]:
    """The annotation of every question.

    Raises:
        UserError: a question has no annotation, or one of another image: the files are not of one split.
    """
    by_question = {annotation.question: annotation for annotation in annotations}
    for question in questions:
        annotation = by_question.get(question.id)
        if annotation is None:
            raise UserError(
                f"{annotations_file} has no annotation of question {question.id} of {questions_file}; "
                "give the two files of one split"
            )
        if annotation.image != question.image:
            raise UserError(
                f"question {question.id} is about image {question.image} in {questions_file} but about image "
                f"{annotation.image} in {annotations_file}; give the two files of one split"
            )
    return {question.id: by_question[question.id] for question in questions}
