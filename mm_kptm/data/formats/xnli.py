"""Readers of XNLI in its three published formats."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mm_kptm.errors import UserError
from mm_kptm.io.records import once, one_of, read_table

LABELS = ("contradiction", "entailment", "neutral")
_SAME = {"contradictory": "contradiction"}  # as the machine-translated training files spell it
_LANGUAGE = re.compile(r"[-.]([a-z]{2,3})\.tsv$")
_PAIR = "pairID"  #: the column of a number that a pair shares with its translations
_RAW, _TRANSLATED = ("language", "gold_label", "sentence1", "sentence2"), ("premise", "hypo", "label")


@dataclass(frozen=True, slots=True)
class SentencePair:
    """A premise and a hypothesis."""

    id: str
    premise: str
    hypothesis: str
    label: str | None  #: None where the file has none
    language: str
    group: str  #: shared by translations of one pair


def read_xnli(path: str | Path) -> tuple[SentencePair, ...]:
    """Pairs of an ``xnli.dev.tsv``, of a ``multinli.train.de.tsv``, or of a ``test-de.tsv`` as XTREME has it.

    The first has a header and names the language of every line; the second has the header *premise, hypo, label*; the
    third has no header, and of its lines the label may be missing. The last two name the language in their file name.

    Pairs that are translations of each other share a group: those of one ``pairID`` where the file has that column,
    else those of one place among the lines of their language.

    Raises:
        UserError: the file cannot be read; a line has too few cells, an empty sentence, an unknown label, or a pairID
            that its language has already; nothing names the language.
    """
    (header, _), *lines = rows = read_table(path)
    header = [name.strip() for name in header]
    if set(_RAW) <= set(header):
        return _pairs(lines, str(path), {name: header.index(name) for name in (*_RAW, _PAIR) if name in header})
    found = _LANGUAGE.search(Path(path).name)
    if found is None:
        raise UserError(
            f"{path} names its language neither in a header ({', '.join(_RAW)}) nor in its name; call it test-de.tsv, "
            "say"
        )
    lines = lines if tuple(header[:3]) == _TRANSLATED else rows
    return _pairs(lines, str(path), {"sentence1": 0, "sentence2": 1}, optional_label=2, language=found[1])


def _pairs(
    lines: list[tuple[list[str], str]],
    path: str,
    columns: Mapping[str, int],
    *,
    optional_label: int | None = None,
    language: str = "",
) -> tuple[SentencePair, ...]:
    """The pairs of some lines.

    Args:
        lines: their cells, and what to call them in messages.
        path: of the file.
        columns: the place of every column by its name in XNLI's own file.
        optional_label: the place of the label, where lines may end before it.
        language: of lines that do not name theirs.
    """
    if not lines:
        raise UserError(f"{path} has a header and no line below it; at least one pair was expected")
    pairs: list[SentencePair] = []
    counts: Counter[str] = Counter()
    seen: dict[str, str] = {}
    needed = 1 + max(columns.values())
    for cells, place in lines:
        if len(cells) < needed:
            raise UserError(f"{place} has {len(cells)} cells between tabs, but {needed} are needed")
        row = {name: cells[column].strip() for name, column in columns.items()}
        if optional_label is not None and optional_label < len(cells):
            row["gold_label"] = cells[optional_label].strip()
        if not row["sentence1"] or not row["sentence2"]:
            raise UserError(f"{place} has an empty sentence; premise and hypothesis must both be there")
        spoken, label = row.get("language", language), row.get("gold_label")
        counts[spoken] += 1
        number = row.get(_PAIR) or str(counts[spoken])
        once(f"{spoken}-{number}", place, seen, "the pair")
        pairs.append(
            SentencePair(
                id=f"{spoken}-{number}",
                premise=row["sentence1"],
                hypothesis=row["sentence2"],
                label=None if label is None else one_of(_SAME.get(label, label), LABELS, f"{place}: the label"),
                language=spoken,
                group=f"pair-{number}",
            )
        )
    return tuple(pairs)
