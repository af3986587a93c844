"""Reader of Flickr30k Entities: captions whose phrases are boxes of the image."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from mm_kptm.data.formats.captions import Box
from mm_kptm.data.images.folders import inside
from mm_kptm.errors import UserError
from mm_kptm.io.text_lines import read_text

_PHRASE = re.compile(r"\[/EN#(\d+)((?:/[a-z]+)+) ([^\]]*)\]")


@dataclass(frozen=True)
class Phrase:
    """A phrase of a caption and the boxes that it means."""

    start: int  #: first character
    end: int  #: the one after the last
    entity: str
    type: str  #: people, clothing, bodyparts, animals, vehicles, instruments, scene or other
    boxes: tuple[Box, ...]  #: fractions of the image; none where the phrase has no box


@dataclass(frozen=True)
class PhrasedCaption:
    """A caption with its phrases (Plummer et al. 2015)."""

    id: str
    image: tuple[str, ...]  #: possible names in a region store
    text: str
    phrases: tuple[Phrase, ...]
    language: str = "en"


def read_flickr30k_entities(folder: str | Path, images: Sequence[str]) -> tuple[PhrasedCaption, ...]:
    """The captions of images, from ``Sentences/<image>.txt`` and ``Annotations/<image>.xml`` of a folder.

    Raises:
        UserError: a file is missing or malformed, or the name of an image leads out of the folder.
    """
    found = []
    for image in images:
        boxes = _boxes(inside(Path(folder), f"Annotations/{image}.xml"))
        path = inside(Path(folder), f"Sentences/{image}.txt")
        for at, line in enumerate(read_text(path, "captions with marked phrases").splitlines()):
            if line.strip():
                text, phrases = _marked(line.strip(), boxes, f"{path}, line {at + 1}")
                found.append(PhrasedCaption(f"{image}#{at}", (f"{image}.jpg", image), text, phrases))
    return tuple(found)


def read_image_list(path: str | Path) -> tuple[str, ...]:
    """A file such as ``val.txt``: the number of an image a line."""
    return tuple(line.strip() for line in read_text(path, "a list of images").splitlines() if line.strip())


def _marked(line: str, boxes: dict[str, list[Box]], place: str) -> tuple[str, tuple[Phrase, ...]]:
    text, phrases, end = "", [], 0
    for mark in _PHRASE.finditer(line):
        text += line[end : mark.start()]
        entity, kinds, words = mark.groups()
        phrases.append(
            Phrase(len(text), len(text) + len(words), entity, kinds.split("/")[1], tuple(boxes.get(entity, ())))
        )
        text += words
        end = mark.end()
    text += line[end:]
    if "[/EN#" in text:
        raise UserError(f"{place} has a phrase that is not closed; phrases look like [/EN#1/people Two men]")
    return text, tuple(phrases)


def _boxes(path: Path) -> dict[str, list[Box]]:
    text = read_text(path, "the boxes of an image")
    if "<!" in text.replace("<!--", ""):
        raise UserError(f"{path} declares a document type, which boxes of Flickr30k have no need of; it is not read")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise UserError(f"{path} is no XML: {error}") from None
    across, down = (_number(root.find("size"), side, path) for side in ("width", "height"))
    boxes: dict[str, list[Box]] = {}
    for thing in root.iter("object"):
        drawn = thing.find("bndbox")
        if drawn is None:
            continue
        x1, y1, x2, y2 = (_number(drawn, side, path) for side in ("xmin", "ymin", "xmax", "ymax"))
        if not (0 <= x1 < x2 and 0 <= y1 < y2 and across > 0 and down > 0):
            raise UserError(
                f"{path} has a box {[x1, y1, x2, y2]} in an image of {across:g} x {down:g}; x1 < x2, y1 < y2"
            )
        box = (x1 / across, y1 / down, min(x2 / across, 1.0), min(y2 / down, 1.0))
        for name in thing.iter("name"):
            boxes.setdefault((name.text or "").strip(), []).append(box)
    return boxes


def _number(element: ElementTree.Element | None, key: str, path: Path) -> float:
    text = None if element is None else element.findtext(key)
    try:
        return float(text or "")
    except ValueError:
        raise UserError(f"{path} has no number under {key!r}") from None
