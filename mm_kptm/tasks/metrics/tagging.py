"""Precision, recall and F1 of entity spans in tag sequences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mm_kptm.tasks.metrics.classification import f1

PADDING, ON_FACT, OUTSIDE = "[PAD]", "[ENT]", "O"


def exact(pairs: Iterable[tuple[Sequence[str], Sequence[str]]]) -> dict[str, float]:
    """Entity F1 with exact start, end and type (Tjong Kim Sang and De Meulder 2003, CoNLL).

    >>> exact([("B-PER I-PER O B-LOC".split(), "B-PER I-PER O B-ORG".split())])["entity-f1"]
    0.5
    """
    spans = [(set(names(predicted)), set(names(gold))) for predicted, gold in pairs]
    right = sum(len(predicted & gold) for predicted, gold in spans)
    return _shares("entity", right, sum(len(predicted) for predicted, _ in spans), sum(len(gold) for _, gold in spans))


def untyped(pairs: Iterable[tuple[Sequence[str], Sequence[str]]], spurious: int = 0) -> dict[str, float]:
    """Entity F1 as in the released K-BERT: an entity starts at B or S and ends before O or the next, of any type.

    Args:
        pairs: predicted and gold tags.
        spurious: entities predicted inside injected facts; they count as wrong.

    >>> untyped([("B-PER I-LOC O B-LOC".split(), "B-PER I-PER O O".split())], spurious=2)
    {'kbert-precision': 0.25, 'kbert-recall': 1.0, 'kbert-f1': 0.4}
    """
    spans = [(set(_spans(predicted)), set(_spans(gold))) for predicted, gold in pairs]
    right = sum(len(predicted & gold) for predicted, gold in spans)
    predicted, gold = (sum(len(pair[side]) for pair in spans) for side in (0, 1))
    return _shares("kbert", right, predicted + spurious, gold)


def begins(tag: str) -> bool:
    """Whether an entity starts at a tag, by K-BERT's rule."""
    return tag.startswith(("B", "S"))


def names(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """Type, start and end (exclusive) of every entity.

    An entity starts at B or S, or at an inside tag without a preceding one of its type; E and S end it.

    >>> names("B-PER I-PER B-PER O I-LOC S-ORG".split())
    [('PER', 0, 2), ('PER', 2, 3), ('LOC', 4, 5), ('ORG', 5, 6)]
    """
    spans: list[tuple[str, int, int]] = []
    start, kind, before = 0, "", "O"
    for place, tag in enumerate((*tags, OUTSIDE)):
        prefix, _, own = tag.partition("-")
        continues = prefix in ("I", "E", "M") and own == kind and before not in ("O", "E", "S")
        if not continues:
            if before != "O":
                spans.append((kind, start, place))
            start, kind = place, own
        before = "O" if tag == OUTSIDE else prefix
    return spans


def _spans(tags: Sequence[str]) -> list[tuple[int, int]]:
    starts = [place for place, tag in enumerate(tags) if begins(tag)]
    ends = [place for place, tag in enumerate(tags) if begins(tag) or tag == OUTSIDE] + [len(tags)]
    return [(start, next(end for end in ends if end > start)) for start in starts]


def _shares(name: str, right: int, predicted: int, gold: int) -> dict[str, float]:
    return f1(name, right / predicted if predicted else 0.0, right / gold if gold else 0.0)
