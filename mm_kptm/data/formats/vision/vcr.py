"""Reader of VCR: questions about film scenes, with answers and rationales to choose from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mm_kptm.errors import UserError
from mm_kptm.io.collected import collected
from mm_kptm.io.records import Json, Record, each_record, once, shown

Said = tuple[str | tuple[int, ...], ...]  #: words, and numbers of objects in their place
CHOICES = 4  #: answers of a question, and rationales


@dataclass(frozen=True)
class VcrQuestion:
    """A question of VCR (Zellers et al. 2019); the file of the challenge lacks labels."""

    id: str
    image: tuple[str, ...]  #: possible names in a region store, whose first regions are the objects in their order
    metadata: str  #: file beside the pictures with boxes and polygons of the objects; empty where it is not named
    objects: tuple[str, ...]  #: class of every object of the image
    question: Said
    answers: tuple[Said, ...]
    rationales: tuple[Said, ...]
    answer: int | None
    rationale: int | None


@collected
def read_vcr(path: str | Path) -> Iterator[VcrQuestion]:
    """A file such as ``val.jsonl``, one question a line.

    Raises:
        UserError: the file cannot be read, a key is missing or of another kind, a question names an object that its
            image does not have, it has another number of choices than four, or is there twice.
    """
    seen: dict[str, str] = {}
    for entry in each_record(path):
        id_ = entry.get("annot_id", str)
        once(id_, entry.place, seen, "the annot_id")
        file = PurePosixPath(entry.get("img_fn", str))
        objects = entry.texts("objects")
        choices = {
            key: tuple(
                _said(one, len(objects), f"{entry.place}: {key}[{at}]") for at, one in enumerate(_four(entry, key))
            )
            for key in ("answer_choices", "rationale_choices")
        }
        yield VcrQuestion(
            id=id_,
            image=tuple(dict.fromkeys((str(file), file.name, file.stem, str(file.with_suffix(""))))),
            metadata=entry.text("metadata_fn", ""),
            objects=objects,
            question=_said(entry.values.get("question"), len(objects), f"{entry.place}: 'question'"),
            answers=choices["answer_choices"],
            rationales=choices["rationale_choices"],
            answer=_label(entry, "answer_label"),
            rationale=_label(entry, "rationale_label"),
        )


def _four(entry: Record, key: str) -> list[Json]:
    listed = entry.get(key, list)
    if len(listed) != CHOICES:
        raise UserError(f"{entry.place}: {key!r} holds {len(listed)} choices, but there are {CHOICES} of each question")
    return listed


def _label(entry: Record, key: str) -> int | None:
    if not entry.has(key):
        return None
    label = entry.count(key)
    if label >= CHOICES:
        raise UserError(f"{entry.place}: {key!r} is {label}, but the choices are 0 to {CHOICES - 1}")
    return label


def _said(value: Json, objects: int, place: str) -> Said:
    if not isinstance(value, list) or not value:
        raise UserError(f"{place} must be a list of words and of numbers of objects, but it is {shown(value)}")
    said: list[str | tuple[int, ...]] = []
    for word in value:
        if isinstance(word, str):
            said.append(word)
            continue
        numbers = word if isinstance(word, list) else [word]
        for number in numbers:
            if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < objects:
                raise UserError(
                    f"{place} names the object {shown(number)}, but the image has objects 0 to {objects - 1}"
                )
        said.append(tuple(number for number in numbers if isinstance(number, int)))
    return tuple(said)
