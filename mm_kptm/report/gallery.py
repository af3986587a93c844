"""Examples worth looking at: the scene, what was asked and told, what was answered, and where attention went.

An experiment writes them to ``gallery.json`` in its run folder; the page shows them. A picture is a data address inside
the file, so neither file ever needs another.
"""

import base64
import json
import re
import struct
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mm_kptm.errors import UserError
from mm_kptm.report.fields import Fields, Json, read_json

_PICTURE = re.compile(r"data:image/(png|jpeg);base64,[A-Za-z0-9+/]+={0,2}")


@dataclass(frozen=True)
class Box:
    """A region of the picture; corners are fractions of its width and height."""

    xyxy: tuple[float, float, float, float]
    label: str
    attention: float | None = None  #: the share of attention that went here, or None when it was not measured


@dataclass(frozen=True)
class Fact:
    """A fact the model was given; ``used`` says whether the question needs it, None when nobody knows."""

    subject: str
    relation: str
    object: str
    used: bool | None = None


@dataclass(frozen=True)
class Token:
    """A piece of the question or of the facts, as the model read it."""

    text: str
    attention: float | None = None


@dataclass(frozen=True)
class GalleryExample:
    """One question about one scene."""

    id: str
    image: str  #: a data address, as `picture` makes it
    width: int  #: of the picture, in pixels
    height: int
    question: str
    answer: str
    target: str
    correct: float  #: between 0 and 1
    language: str = ""
    type: str = ""
    boxes: tuple[Box, ...] = ()
    facts: tuple[Fact, ...] = ()
    tokens: tuple[Token, ...] = ()


def picture(pixels: NDArray[np.uint8]) -> str:
    """A picture [H, W, 3] or [H, W] of bytes as the data address of a PNG file (ISO/IEC 15948, section 5)."""
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
        raise UserError(
            f"a picture of shape {list(pixels.shape)} and type {pixels.dtype} cannot be shown; "
            "give bytes (uint8) of shape [height, width, 3] or [height, width]"
        )
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1)
    unfiltered = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1).tobytes()
    colour = 2 if pixels.ndim == 3 else 0
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(unfiltered, 9)) + _chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + chunks).decode()


def write_gallery(path: Path, examples: Sequence[GalleryExample]) -> None:
    """Write ``gallery.json``; the file appears whole or not at all."""
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(json.dumps([asdict(example) for example in examples], ensure_ascii=False), encoding="utf-8")
    unfinished.replace(path)


def read_gallery(path: Path) -> tuple[GalleryExample, ...]:
    """The examples of a gallery file; a malformed one is named with its place."""
    listed = read_json(path)
    if not isinstance(listed, list):
        raise UserError(f"{path}: a gallery is a list of examples; this file holds something else")
    return tuple(_example(Fields(item, f"{path}, example {number}")) for number, item in enumerate(listed))


def _example(fields: Fields) -> GalleryExample:
    image = fields.text("image")
    if not _PICTURE.fullmatch(image):
        raise UserError(
            f"{fields.place}: 'image' must be a PNG or JPEG data address (data:image/png;base64,...), "
            f"found '{image[:40]}'"
        )
    correct = fields.values.get("correct")
    return GalleryExample(
        id=fields.text("id"),
        image=image,
        width=fields.whole("width"),
        height=fields.whole("height"),
        question=fields.text("question"),
        answer=fields.text("answer"),
        target=fields.text("target"),
        correct=float(correct) if isinstance(correct, bool) else fields.share("correct"),
        language=fields.text("language", ""),
        type=fields.text("type", ""),
        boxes=tuple(_box(box) for box in fields.objects("boxes")),
        facts=tuple(
            Fact(
                fact.text("subject"),
                fact.text("relation"),
                fact.text("object"),
                fact.truth("used") if fact.has("used") else None,
            )
            for fact in fields.objects("facts")
        ),
        tokens=tuple(Token(token.text("text"), _attention(token)) for token in fields.objects("tokens")),
    )


def _box(fields: Fields) -> Box:
    corners = fields.items("xyxy")
    numbers = [float(c) for c in corners if isinstance(c, int | float) and 0 <= c <= 1]
    if len(corners) != 4 or len(numbers) != 4 or numbers[0] > numbers[2] or numbers[1] > numbers[3]:
        shown: list[Json] = corners[:6]
        raise UserError(
            f"{fields.place}: 'xyxy' must be left, top, right and bottom as fractions between 0 and 1, found {shown}"
        )
    return Box((numbers[0], numbers[1], numbers[2], numbers[3]), fields.text("label", ""), _attention(fields))


def _attention(fields: Fields) -> float | None:
    return fields.share("attention") if fields.has("attention") else None


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
