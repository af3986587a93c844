"""One page of explained answers: regions, tokens and facts with their shares by several methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mm_kptm.io.atomic import write_text
from mm_kptm.report.sections import Section
from mm_kptm.report.tables import percent
from mm_kptm.report.templating import render

DRAWN = "gradient x attention"  #: method by which boxes are drawn bolder


@dataclass(frozen=True)
class Part:
    """A region, token or fact; shares add up to one over the parts of its kind."""

    label: str
    shares: Mapping[str, float]  #: by method
    needed: bool | None = None  #: whether it decides the answer; None if unknown
    box: tuple[float, float, float, float] | None = None  #: of a region, as fractions of the picture


@dataclass(frozen=True)
class Explained:
    """An explained answer."""

    id: str
    image: str  #: data URL
    width: int  #: of the image, in pixels
    height: int
    question: str
    answer: str
    target: str
    correct: float | None  #: between 0 and 1; None without a gold answer
    labels: tuple[str, ...] = ()  #: type and language
    regions: tuple[Part, ...] = ()
    tokens: tuple[Part, ...] = ()
    facts: tuple[Part, ...] = ()


def write_explanations(
    out: Path, title: str, facts: Sequence[str], examples: Sequence[Explained], scores: Sequence[Mapping[str, str]]
) -> Path:
    """Write the page atomically; ``scores`` are rows of one table with the same columns."""
    content = render("explain.html", cards=[_card(example) for example in examples], scores=list(scores))
    section = Section("Answers", content, _NOTE)
    write_text(out, render("page.html", title=title, kind="explanation", facts=list(facts), sections=[section]))
    return out


_NOTE = (
    "Shares are in per cent of all regions, tokens or facts of an example. Boxes are drawn bolder by gradient x "
    "attention. A dot marks what decides the answer, where that is known."
)


def _card(example: Explained) -> dict[str, object]:
    peaks = {
        name: max((part.shares.get(name, 0.0) for part in example.regions), default=0.0) for name in _methods(example)
    }
    return {
        "example": example,
        "letter": max(example.width, example.height) / 22,
        "boxes": [_box(part, example, peaks.get(DRAWN, 0.0)) for part in example.regions if part.box is not None],
        "methods": _methods(example),
        "kinds": [
            {"title": title, "rows": [_row(part, _methods(example)) for part in parts]}
            for title, parts in (
                ("regions", example.regions),
                ("facts given", example.facts),
                ("tokens", example.tokens),
            )
            if parts
        ],
    }


def _methods(example: Explained) -> list[str]:
    parts = (*example.regions, *example.tokens, *example.facts)
    return list(parts[0].shares) if parts else []


def _row(part: Part, methods: Sequence[str]) -> dict[str, object]:
    shares = [part.shares.get(method, 0.0) for method in methods]
    return {"label": part.label, "needed": part.needed, "shares": [(share, percent(share, 0)) for share in shares]}


def _box(part: Part, example: Explained, peak: float) -> dict[str, object]:
    left, top, right, bottom = part.box or (0.0, 0.0, 0.0, 0.0)
    return {
        "label": part.label,
        "left": left * example.width,
        "top": top * example.height,
        "width": (right - left) * example.width,
        "height": (bottom - top) * example.height,
        "weight": part.shares.get(DRAWN, 0.0) / peak if peak else 0.0,
    }
