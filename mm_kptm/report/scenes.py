"""The gallery: each example as a card with the scene, its boxes, the question, the facts and where attention went.

Attention is shown relative to its largest share within the same list (boxes, tokens), so that both a peaked and a flat
distribution can be read; the printed figures are the shares themselves.
"""

from collections.abc import Sequence

from mm_kptm.report.gallery import Box, Fact, GalleryExample, Token
from mm_kptm.report.markup import Markup, join, number, tag
from mm_kptm.report.tables import percent


def gallery(examples: Sequence[GalleryExample]) -> Markup:
    """All cards in the order given."""
    return tag("div", [card(example) for example in examples], class_="gallery")


def card(example: GalleryExample) -> Markup:
    """One example."""
    right = example.correct >= 0.5
    labels = [label for label in (example.type, example.language, example.id) if label]
    verdict = tag("span", "✓ right" if right else "✗ wrong", class_="right" if right else "wrong")
    answered = tag(
        "p",
        [tag("span", "answer ", class_="quiet"), tag("b", example.answer or "(none)", lang=example.language or None)],
        " ",
        verdict,
        [
            tag("span", " target ", class_="quiet"),
            tag("b", example.target, lang=example.language or None),
        ]
        if example.answer != example.target
        else None,
        class_="answer",
    )
    return tag(
        "article",
        tag("div", scene(example), regions(example.boxes), class_="seen"),
        tag(
            "div",
            tag("p", " · ".join(labels), class_="labels"),
            tag("p", example.question, class_="question", lang=example.language or None),
            answered,
            facts(example.facts),
            tokens(example.tokens),
            class_="told",
        ),
        class_="card",
    )


def scene(example: GalleryExample) -> Markup:
    """The picture with its boxes; a box is drawn the stronger, the more attention it got.

    Boxes stay empty: a tint would change the colours that a question may ask about.
    """
    wide, high = float(example.width), float(example.height)
    peak = _peak([box.attention for box in example.boxes])
    size = max(wide, high) / 22
    drawn = []
    for box in example.boxes:
        left, top, right, bottom = (
            side * length for side, length in zip(box.xyxy, (wide, high, wide, high), strict=True)
        )
        weight = _weight(box.attention, peak)
        place = {"x": left, "y": top, "width": right - left, "height": bottom - top}
        drawn.append(tag("rect", **place, class_="ground"))
        drawn.append(
            tag("rect", **place, class_="box", stroke_opacity=0.25 + 0.75 * weight, stroke_width=1.5 + 3 * weight)
        )
        inside = top < size * 1.3
        drawn.append(
            tag(
                "text",
                box.label,
                x=left + size * 0.2,
                y=top + size if inside else top - size * 0.3,
                font_size=number(size),
                stroke_width=number(size / 4),
                class_="name",
            )
        )
    image = tag("image", href=example.image, width=wide, height=high)
    return tag(
        "svg",
        image,
        drawn,
        viewBox=f"0 0 {number(wide)} {number(high)}",
        class_="scene",
        role="img",
        aria_label="the scene with its regions: " + ", ".join(box.label for box in example.boxes),
    )


def regions(boxes: Sequence[Box]) -> Markup | None:
    """Attention of every region as a bar; nothing when it was not measured."""
    peak = _peak([box.attention for box in boxes])
    if not peak:
        return None
    rows = [
        tag(
            "tr",
            tag("th", box.label, scope="row"),
            tag("td", _bar(_weight(box.attention, peak)), class_="bar"),
            tag("td", "" if box.attention is None else percent(box.attention, 0) + " %"),
        )
        for box in boxes
    ]
    return tag("table", tag("caption", "attention to regions"), rows, class_="attention")


def facts(told: Sequence[Fact]) -> Markup | None:
    """The facts the model was given; a full mark stands before those the question needs."""
    if not told:
        return None
    marks = {True: ("●", "needed"), False: ("○", "not needed"), None: ("–", "")}
    lines = [
        tag(
            "li",
            tag("span", marks[fact.used][0], class_="mark", title=marks[fact.used][1] or None),
            f" {fact.subject} ",
            tag("i", fact.relation),
            f" {fact.object}",
            class_="used" if fact.used else None,
        )
        for fact in told
    ]
    return join(tag("h5", "facts given"), tag("ul", lines, class_="facts"))


def tokens(read: Sequence[Token]) -> Markup | None:
    """The tokens in order, with a bar over each for the attention it got."""
    if not read:
        return None
    peak = _peak([token.attention for token in read])
    shown = [
        tag(
            "span",
            tag("span", class_="level", style=f"height:{number(_weight(token.attention, peak) * 2)}em"),
            token.text,
            tag("small", "" if token.attention is None else percent(token.attention, 0)),
            class_="token",
        )
        for token in read
    ]
    return join(tag("h5", "attention to tokens, in per cent" if peak else "tokens"), tag("p", shown, class_="tokens"))


def _bar(weight: float) -> Markup:
    return tag("span", class_="fill", style=f"width:{number(weight * 100, 1)}%")


def _peak(attention: Sequence[float | None]) -> float:
    return max((share for share in attention if share is not None), default=0.0)


def _weight(attention: float | None, peak: float) -> float:
    return attention / peak if attention and peak else 0.0
