"""Readers of XNLI in its three published formats."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mm_kptm.errors import UserError
from mm_kptm.io.records import once, one_of, read_table
from mm_kptm.io.text_lines import is_blank

LABELS = ("contradiction", "entailment", "neutral")
_SAME = {"contradictory": "contradiction"}  # as the machine-translated training files spell it
_LANGUAGE = re.compile(r"[-.]([a-z]{2,3})$")
_TRANSLATION = re.compile(r"(?:^|[-.])([a-z]{2,3})-([a-z]{2,3})-translated$")
_ENDINGS = re.compile(r"(?:\.tsv|\.txt)?(?:\.gz|\.bz2|\.xz)?$")
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
    third has no header, cells that hold quotes are themselves in quotes, and of its lines the label may be missing. So
    has ``en-de-translated.tsv``, a pair and its machine translation in every line; the translation is read. The last
    three name the language in their file name.

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
    language = language_in(Path(path).name)
    if language is None:
        raise UserError(
            f"{path} names its language neither in a header ({', '.join(_RAW)}) nor in its name; call it test-de.tsv, "
            "say"
        )
    first = first_sentence(path)
    columns = {"sentence1": first, "sentence2": first + 1}
    if tuple(header[:3]) != _TRANSLATED:
        lines = [([unquoted(cell.strip()) for cell in cells], place) for cells, place in rows]
    return _pairs(lines, str(path), columns, optional_label=first + 2, language=language)


def language_in(name: str) -> str | None:
    """The language in the name of a file; of a machine translation the one that is not English.

    >>> language_in("test-de.tsv"), language_in("en-de-translated.tsv"), language_in("de-en-translated.tsv")
    ('de', 'de', 'de')
    """
    name = _ENDINGS.sub("", name)
    if found := _TRANSLATION.search(name):
        return found[1] if found[2] == "en" else found[2]
    return found[1] if (found := _LANGUAGE.search(name)) else None


def first_sentence(path: str | Path) -> int:
    """The column of the first sentence that is read: behind the two originals in a file of machine translations."""
    return 2 if _TRANSLATION.search(_ENDINGS.sub("", Path(path).name)) else 0


def unquoted(cell: str) -> str:
    """A cell as it was before a writer of tables put quotes around it.

    >>> unquoted('"a ""b"" c"'), unquoted('"a" or "b"')
    ('a "b" c', '"a" or "b"')
    """
    inner = cell[1:-1]
    quoted = len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in inner.replace('""', "")
    return inner.replace('""', '"') if quoted else cell


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
        if is_blank(row["sentence1"]) or is_blank(row["sentence2"]):
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
