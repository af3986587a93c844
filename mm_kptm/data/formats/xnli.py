"""Readers of XNLI in its three published formats."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mm_kptm.errors import UserError
from mm_kptm.io.records import one_of, read_table

LABELS = ("contradiction", "entailment", "neutral")
_SAME = {"contradictory": "contradiction"}  # as the machine-translated training files spell it
_LANGUAGE = re.compile(r"[-.]([a-z]{2,3})\.tsv$")
_RAW, _TRANSLATED = ("language", "gold_label", "sentence1", "sentence2"), ("premise", "hypo", "label")


@dataclass(frozen=True)
class SentencePair:
    """A premise and a hypothesis."""

    id: str
    premise: str
    hypothesis: str
    label: str | None  #: None if unknown
    language: str
    group: str  #: shared by translations of one pair


def read_xnli(path: str | Path) -> tuple[SentencePair, ...]:
    """Pairs of an ``xnli.dev.tsv``, of a ``multinli.train.de.tsv``, or of a ``test-de.tsv`` as XTREME has it.

    The first has a header and a language column; the second has the header *premise, hypo, label*; the third has no
    header, and labels may be missing. The language of the last two is in the file name.

    Raises:
        UserError: the file cannot be read; a line has too few cells, an empty sentence or an unknown label; no
            language is given.
    """
    (header, _), *lines = rows = read_table(path)
    if set(_RAW) <= set(header):
        return _pairs(lines, str(path), [header.index(name) for name in _RAW[2:]], header.index(_RAW[1]), header.index)
    found = _LANGUAGE.search(Path(path).name)
    if found is None:
        raise UserError(
            f"{path} tells its language neither in a header ({', '.join(_RAW)}) nor in its name; call it test-de.tsv, "
            "say"
        )
    if tuple(header[:3]) == _TRANSLATED:
        return _pairs(lines, str(path), [0, 1], 2, None, found[1])
    return _pairs(rows, str(path), [0, 1], 2, None, found[1])


def _pairs(
    lines: list[tuple[list[str], str]],
    path: str,
    sentences: list[int],
    label: int,
    place_of: Callable[[str], int] | None,
    language: str = "",
) -> tuple[SentencePair, ...]:
    if not lines:
        raise UserError(f"{path} has a header and no line below it; at least one pair was expected")
    pairs: list[SentencePair] = []
    counts: Counter[str] = Counter()
    for cells, place in lines:
        needed = 1 + max(sentences if place_of is None else [*sentences, label])
        if len(cells) < needed:
            raise UserError(f"{place} has {len(cells)} cells between tabs, but {needed} are needed")
        premise, hypothesis = (cells[column].strip() for column in sentences)
        if not premise or not hypothesis:
            raise UserError(f"{place} has an empty sentence; premise and hypothesis must both be there")
        text = cells[label].strip() if label < len(cells) else None
        spoken = language if place_of is None else cells[place_of("language")]
        counts[spoken] += 1
        pairs.append(
            SentencePair(
                id=f"{spoken}-{counts[spoken]}",
                premise=premise,
                hypothesis=hypothesis,
                label=None if text is None else one_of(_SAME.get(text, text), LABELS, f"{place}: the label"),
                language=spoken,
                group=f"pair-{counts[spoken]}",
            )
        )
    return tuple(pairs)
