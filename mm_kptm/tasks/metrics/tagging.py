"""Precision, recall and F1 of spans read off tag sequences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mm_kptm.tasks.metrics.classification import f1

PADDING, ON_FACT, OUTSIDE = "[PAD]", "[ENT]", "O"


def exact(pairs: Iterable[tuple[Sequence[str], Sequence[str]]]) -> dict[str, float]:
    """A name counts where beginning, end and kind are right (Tjong Kim Sang and De Meulder 2003, CoNLL).

    >>> exact([("B-PER I-PER O B-LOC".split(), "B-PER I-PER O B-ORG".split())])["entity-f1"]
    0.5
    """
    found = [(set(names(given)), set(names(held))) for given, held in pairs]
    right = sum(len(given & held) for given, held in found)
    return _shares("entity", right, sum(len(given) for given, _ in found), sum(len(held) for _, held in found))


def untyped(pairs: Iterable[tuple[Sequence[str], Sequence[str]]], spurious: int = 0) -> dict[str, float]:
    """As the released K-BERT counts: a name begins at B or S and ends before O or the next one, of whatever kind.

    Args:
        pairs: tags given and tags that hold.
        spurious: names said to begin inside facts; they count as wrong.

    >>> untyped([("B-PER I-LOC O B-LOC".split(), "B-PER I-PER O O".split())], spurious=2)
    {'kbert-precision': 0.25, 'kbert-recall': 1.0, 'kbert-f1': 0.4}
    """
    found = [(set(_spans(given)), set(_spans(held))) for given, held in pairs]
    right = sum(len(given & held) for given, held in found)
    given, held = (sum(len(pair[side]) for pair in found) for side in (0, 1))
    return _shares("kbert", right, given + spurious, held)


def begins(tag: str) -> bool:
    """Whether a name begins at a tag, to K-BERT."""
    return tag.startswith(("B", "S"))


def names(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """Kind, first word and the one after the last of every name.

    A name begins at B or S, or where an inside tag follows none of its kind; E and S end one.

    >>> names("B-PER I-PER B-PER O I-LOC S-ORG".split())
    [('PER', 0, 2), ('PER', 2, 3), ('LOC', 4, 5), ('ORG', 5, 6)]
    """
    found: list[tuple[str, int, int]] = []
    start, kind, before = 0, "", "O"
    for place, tag in enumerate((*tags, OUTSIDE)):
        prefix, _, own = tag.partition("-")
        goes_on = prefix in ("I", "E", "M") and own == kind and before not in ("O", "E", "S")
        if not goes_on:
            if before != "O":
                found.append((kind, start, place))
            start, kind = place, own
        before = "O" if tag == OUTSIDE else prefix
    return found


def _spans(tags: Sequence[str]) -> list[tuple[int, int]]:
    starts = [place for place, tag in enumerate(tags) if begins(tag)]
    ends = [place for place, tag in enumerate(tags) if begins(tag) or tag == OUTSIDE] + [len(tags)]
    return [(start, next(end for end in ends if end > start)) for start in starts]


def _shares(name: str, right: int, given: int, held: int) -> dict[str, float]:
    return f1(name, right / given if given else 0.0, right / held if held else 0.0)
