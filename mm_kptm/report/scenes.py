"""HTML of the gallery: one card per example with image, boxes, question, facts and attention.

Attention is shaded relative to the largest share within the same list (boxes, tokens), so that both peaked and flat
distributions are readable; the printed figures are the shares themselves. Boxes with more attention are drawn bolder.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict

from markupsafe import Markup

from mm_kptm.report.gallery import Box, GalleryExample, Token
from mm_kptm.report.tables import percent
from mm_kptm.report.templating import render


def gallery(examples: Sequence[GalleryExample]) -> Markup:
    """HTML cards in the order of the examples."""
    return render("gallery.html", cards=[_card(example) for example in examples])


def _card(example: GalleryExample) -> dict[str, object]:
    """Template values of one example; coordinates are in pixels."""
    peak = _peak(example.boxes)
    boxes = [_box(box, example, peak) for box in example.boxes]
    top = _peak(example.tokens)
    return asdict(example) | {
        "right": example.correct >= 0.5,
        "labels": [label for label in (example.type, example.language, example.id) if label],
        "letter": max(example.width, example.height) / 22,
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
