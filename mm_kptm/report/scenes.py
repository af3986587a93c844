"""HTML of recorded examples: one card each with text, picture, boxes, facts and attention.

Attention is shaded relative to the largest share within the same list (boxes, tokens), so that both peaked and flat
distributions are readable; the printed figures are the shares themselves. Boxes with more attention are drawn bolder.
Names of boxes stand above and below the picture, each joined to its box by a line, and hide nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from markupsafe import Markup

from mm_kptm.report.gallery import Box, GalleryExample, Token
from mm_kptm.report.tables import percent
from mm_kptm.report.templating import render

_LETTER = 22  #: the longer side of a picture in heights of a letter
_WIDE = 0.62  #: width of a letter in heights


def gallery(examples: Sequence[GalleryExample]) -> Markup:
    """HTML cards in the order of the examples; their headings are of the fourth and fifth level."""
    return render("gallery.html", cards=[_card(example) for example in examples])


@dataclass(frozen=True)
class Label:
    """Name of a box outside the picture, in its pixels, and the line to the box."""

    text: str
    x: float  #: of the middle of the name
    y: float  #: of its base line
    anchor_x: float  #: where the line meets the box
    anchor_y: float
    line_y: float  #: where the line leaves the name


def placed_labels(boxes: Sequence[Box], width: int, height: int, letter: float) -> tuple[Label, ...]:
    """Place the names of boxes above or below the picture, whichever is nearer, in rows without overlap."""
    rows: dict[bool, list[list[tuple[float, float]]]] = {True: [], False: []}  #: taken spans, nearest row first
    labels = []
    for box in sorted(boxes, key=lambda box: box.xyxy[0] + box.xyxy[2]):
        left, top, right, bottom = box.xyxy
        above = top <= 1 - bottom
        middle, half = (left + right) / 2 * width, len(box.label) * letter * _WIDE / 2
        x = min(max(middle, half), width - half) if 2 * half <= width else width / 2
        row = _free_row(rows[above], x - half - letter / 3, x + half + letter / 3)
        step = letter * (1.4 * row + 0.5)
        y = -step if above else height + step + 0.7 * letter
        line = y + 0.15 * letter if above else y - 0.85 * letter
        labels.append(Label(box.label, x, y, middle, (top if above else bottom) * height, line))
    return tuple(labels)


def _free_row(rows: list[list[tuple[float, float]]], start: float, stop: float) -> int:
    """The first row with room from ``start`` to ``stop``, which is then taken."""
    for number, taken in enumerate(rows):
        if all(stop <= first or last <= start for first, last in taken):
            taken.append((start, stop))
            return number
    rows.append([(start, stop)])
    return len(rows) - 1


def _card(example: GalleryExample) -> dict[str, object]:
    """Template values of one example; coordinates are in pixels."""
    letter = max(example.width, example.height) / _LETTER
    peak, top = _peak(example.boxes), _peak(example.tokens)
    boxes = [_box(box, example, peak) for box in example.boxes]
    labels = placed_labels(example.boxes, example.width, example.height, letter)
    above = min((label.y - letter for label in labels), default=0.0)
    below = max((label.y + 0.3 * letter for label in labels), default=0.0)
    return asdict(example) | {
        "right": example.correct is not None and example.correct >= 0.5,
        "labels": [label for label in (example.type, example.language, example.id) if label],
        "letter": letter,
        "top": min(above, 0.0),
        "tall": max(below, example.height) - min(above, 0.0),
        "names": labels,
        "boxes": boxes,
        "regions": boxes if peak else [],
        "tokens": [
            {"text": token.text, "weight": _weight(token.attention, top), "share": _share(token.attention)}
            for token in example.tokens
        ],
        "attended": bool(top),
    }


def _box(box: Box, example: GalleryExample, peak: float) -> dict[str, object]:
    left, top, right, bottom = box.xyxy
    share = _share(box.attention)
    return {
        "label": box.label,
        "left": left * example.width,
        "top": top * example.height,
        "width": (right - left) * example.width,
        "height": (bottom - top) * example.height,
        "weight": _weight(box.attention, peak),
        "share": share and f"{share} %",
    }


def _share(attention: float | None) -> str:
    return "" if attention is None else percent(attention, 0)


def _peak(parts: Iterable[Box | Token]) -> float:
    return max((part.attention for part in parts if part.attention is not None), default=0.0)


def _weight(attention: float | None, peak: float) -> float:
    return attention / peak if attention and peak else 0.0
