"""Examples of a run: text, picture, injected facts, predicted answer and attention.

An evaluation writes ``examples/<split>.json`` into the run folder and the HTML page shows them. Images are embedded as
data URLs, so both files are self-contained.
"""

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mm_kptm.errors import UserError
from mm_kptm.io.atomic import write_json
from mm_kptm.io.records import Json, Record, read_json

_PICTURE = re.compile(r"data:image/(png|jpeg);base64,[A-Za-z0-9+/]+={0,2}")


@dataclass(frozen=True)
class Box:
    """Region of the image; corners are fractions of its width and height."""

    xyxy: tuple[float, float, float, float]
    label: str
    attention: float | None = None  #: share of attention, None if not measured


@dataclass(frozen=True)
class Fact:
    """Injected fact; ``used`` says whether the question needs it, None if unknown."""

    subject: str
    relation: str
    object: str
    used: bool | None = None


@dataclass(frozen=True)
class Token:
    """Token of the question or of the facts, as the model read it."""

    text: str
    attention: float | None = None


@dataclass(frozen=True)
class GalleryExample:
    """One example: a text, with or without a picture, and what was answered."""

    id: str
    question: str  #: the text; several texts of one example are lines
    answer: str
    target: str  #: the gold answer, empty if there is none
    correct: float | None  #: between 0 and 1; None without a gold answer
    image: str = ""  #: data URL, from `picture`; empty without one
    width: int = 0  #: of the image, in pixels; 0 without regions
    height: int = 0
    language: str = ""
    type: str = ""
    boxes: tuple[Box, ...] = ()
    facts: tuple[Fact, ...] = ()
    tokens: tuple[Token, ...] = ()


def picture(pixels: NDArray[np.uint8]) -> str:
    """Encode an image, uint8 [H, W, 3] or [H, W], as a PNG data URL."""
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
        raise UserError(
            f"a picture of shape {list(pixels.shape)} and type {pixels.dtype} cannot be shown; "
            "give bytes (uint8) of shape [height, width, 3] or [height, width]"
        )
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def write_gallery(path: Path, examples: Sequence[GalleryExample]) -> None:
    """Write the examples of a split atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, [asdict(example) for example in examples])


def read_gallery(path: Path) -> tuple[GalleryExample, ...]:
    """Read the examples of a gallery file; ``UserError`` names the location of a malformed one."""
    listed = read_json(path)
    if not isinstance(listed, list):
        raise UserError(f"{path}: a gallery is a list of examples; this file holds something else")
    return tuple(_example(Record.of(item, f"{path}, example {number}")) for number, item in enumerate(listed))


def _example(record: Record) -> GalleryExample:
    image = record.text("image", "")
    if image and not _PICTURE.fullmatch(image):
        raise UserError(
            f"{record.place}: 'image' must be a PNG or JPEG data address (data:image/png;base64,...), "
            f"found '{image[:40]}'"
        )
    correct = record.values.get("correct")
    return GalleryExample(
        id=record.text("id"),
        question=record.text("question"),
        answer=record.text("answer"),
        target=record.text("target", ""),
        correct=None if correct is None else float(correct) if isinstance(correct, bool) else record.share("correct"),
        image=image,
        width=record.count("width") if record.has("width") else 0,
        height=record.count("height") if record.has("height") else 0,
        language=record.text("language", ""),
        type=record.text("type", ""),
        boxes=tuple(_box(box) for box in record.records("boxes", allow_none=True)),
        facts=tuple(
            Fact(
                fact.text("subject"),
                fact.text("relation"),
                fact.text("object"),
                fact.truth("used") if fact.has("used") else None,
            )
            for fact in record.records("facts", allow_none=True)
        ),
        tokens=tuple(
            Token(token.text("text"), _attention(token)) for token in record.records("tokens", allow_none=True)
        ),
    )


def _box(record: Record) -> Box:
    corners = record.items("xyxy")
    numbers = [float(c) for c in corners if isinstance(c, int | float) and 0 <= c <= 1]
    if len(corners) != 4 or len(numbers) != 4 or numbers[0] > numbers[2] or numbers[1] > numbers[3]:
        shown: list[Json] = corners[:6]
        raise UserError(
            f"{record.place}: 'xyxy' must be left, top, right and bottom as fractions between 0 and 1, found {shown}"
        )
    return Box((numbers[0], numbers[1], numbers[2], numbers[3]), record.text("label", ""), _attention(record))


def _attention(record: Record) -> float | None:
    return record.share("attention") if record.has("attention") else None
