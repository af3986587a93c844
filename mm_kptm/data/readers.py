"""Readers of published data files: every malformed thing is one sentence with the file and the place in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mm_kptm.errors import UserError

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]
Value = TypeVar("Value", str, int, list[Json])
_KINDS = {str: "a text", int: "a whole number", list: "a list"}


@dataclass(frozen=True)
class VqaQuestion:
    """One entry of a questions file of VQA v2 (Goyal et al. 2017)."""

    id: int
    image: int
    text: str


@dataclass(frozen=True)
class VqaAnnotation:
    """One entry of an annotations file of VQA v2: what ten people answered."""

    question: int
    image: int
    answers: tuple[str, ...]
    most_frequent: str  #: the field ``multiple_choice_answer``
    question_type: str
    answer_type: str  #: yes/no, number or other


def read_json(path: str | Path) -> Json:
    """What a JSON file holds.

    Raises:
        UserError: no such file, empty, no UTF-8 or no JSON.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} was to be read, but there is no such file")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no UTF-8 text: byte {error.start} cannot be read") from None
    if not text.strip():
        raise UserError(f"{path} is empty; a JSON file was expected")
    try:
        value: Json = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {error.lineno}, column {error.colno}: no valid JSON: {error.msg}") from None
    except RecursionError:
        raise UserError(f"{path} nests too deep to be read") from None
    return value


def read_vqa_questions(path: str | Path) -> tuple[VqaQuestion, ...]:
    """The questions of a file such as ``v2_OpenEnded_mscoco_train2014_questions.json``, in its order.

    Raises:
        UserError: as :func:`read_json`; a key is missing or of another type; a question is there twice.
    """
    questions = []
    seen: dict[int, str] = {}
    for entry in _entries(path, "questions"):
        question = VqaQuestion(entry.get("question_id", int), entry.get("image_id", int), entry.get("question", str))
        _once(question.id, entry.place, seen)
        questions.append(question)
    return tuple(questions)


def read_vqa_annotations(path: str | Path) -> tuple[VqaAnnotation, ...]:
    """The annotations of a file such as ``v2_mscoco_train2014_annotations.json``, in its order.

    Raises:
        UserError: as :func:`read_vqa_questions`; an annotation without answers.
    """
    annotations = []
    seen: dict[int, str] = {}
    for entry in _entries(path, "annotations"):
        given = entry.get("answers", list)
        if not given:
            raise UserError(f"{entry.place}: 'answers' is empty, but accuracy needs at least one")
        people = (_Entry.of(person, f"{entry.place}, answers[{at}]") for at, person in enumerate(given))
        annotation = VqaAnnotation(
            question=entry.get("question_id", int),
            image=entry.get("image_id", int),
            answers=tuple(person.get("answer", str) for person in people),
            most_frequent=entry.get("multiple_choice_answer", str),
            question_type=entry.get("question_type", str),
            answer_type=entry.get("answer_type", str),
        )
        _once(annotation.question, entry.place, seen)
        annotations.append(annotation)
    return tuple(annotations)


def annotated(
    questions: tuple[VqaQuestion, ...],
    annotations: tuple[VqaAnnotation, ...],
    *,
    questions_file: str | Path,
    annotations_file: str | Path,
) -> dict[int, VqaAnnotation]:
    """The annotation of every question.

    Raises:
        UserError: a question has none, or one of another image: the files are not of one split.
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


@dataclass(frozen=True)
class _Entry:
    """An object of a file, and what to call it in messages."""

    values: Mapping[str, Json]
    place: str

    @classmethod
    def of(cls, value: Json, place: str) -> _Entry:
        if not isinstance(value, dict):
            raise UserError(f"{place} must be an object, but it is {_shown(value)}")
        return cls(value, place)

    def get(self, key: str, kind: type[Value]) -> Value:
        if key not in self.values:
            raise UserError(f"{self.place} has no {key!r}; it has {', '.join(self.values) or 'nothing'}")
        value = self.values[key]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise UserError(f"{self.place}: {key!r} must be {_KINDS[kind]}, but it is {_shown(value)}")
        return value


def _entries(path: str | Path, key: str) -> list[_Entry]:
    """The objects in the list under ``key``; at least one."""
    listed = _Entry.of(read_json(path), str(path)).get(key, list)
    if not listed:
        raise UserError(f"{path}: {key!r} is empty; at least one entry was expected")
    return [_Entry.of(value, f"{path}, {key}[{at}]") for at, value in enumerate(listed)]


def _once(id_: int, place: str, seen: dict[int, str]) -> None:
    if (first := seen.setdefault(id_, place)) != place:
        raise UserError(f"{place}: question {id_} is there twice, first at {first}")


def _shown(value: Json) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:40]}..."
