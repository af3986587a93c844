"""Reader of VizWiz's questions, which blind people asked about photographs of theirs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mm_kptm.io.collected import collected
from mm_kptm.io.records import each_listed, once


@dataclass(frozen=True)
class VizWizQuestion:
    """A question of VizWiz (Gurari et al. 2018); the files of the challenge lack answers."""

    image: str  #: file name; there is one question an image
    text: str
    answers: tuple[str, ...]  #: of ten people; empty if unknown
    answer_type: str
    answerable: bool | None  #: None if unknown


@collected
def read_vizwiz(path: str | Path) -> Iterator[VizWizQuestion]:
    """A file such as ``train.json``: a list of questions.

    Raises:
        UserError: the file cannot be read, a key is missing or of another kind, an image is there twice.
    """
    seen: dict[str, str] = {}
    for entry in each_listed(path):
        image = entry.get("image", str)
        once(image, entry.place, seen, "image")
        yield VizWizQuestion(
            image=image,
            text=entry.get("question", str),
            answers=tuple(person.get("answer", str) for person in entry.records("answers", allow_none=True)),
            answer_type=entry.text("answer_type", "other"),
            answerable=bool(entry.count("answerable")) if entry.has("answerable") else None,
        )
