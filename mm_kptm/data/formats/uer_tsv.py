"""Readers of K-BERT's tables: labelled sentences or sentence pairs, and words with entity tags.

Tab-separated, with a header that names the columns. The label column may be missing in data to predict on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mm_kptm.errors import UserError
from mm_kptm.io.collected import collected
from mm_kptm.io.records import each_row, shown

_WORDS, _TAGS = ("text_a", "text", "tokens"), ("label", "labels")


@dataclass(frozen=True, slots=True)
class ClassifiedText:
    """A sentence or sentence pair with its class."""

    id: str
    texts: tuple[str, ...]
    label: str | None  #: None if unknown
    language: str = "en"
    question: str | None = None  #: question id of a candidate answer


@dataclass(frozen=True, slots=True)
class Tagged:
    """The words of a sentence and their tags."""

    id: str
    words: tuple[str, ...]
    tags: tuple[str, ...] | None  #: None if unknown
    language: str = "en"


@collected
def read_classified(path: str | Path, *, language: str = "zh") -> Iterator[ClassifiedText]:
    """Columns ``text_a`` and perhaps ``label``, ``text_b`` and ``qid``, the question of a candidate answer.

    Raises:
        UserError: the file cannot be read, the first line names no columns, or a line has other cells than it names.
    """
    for number, (row, _) in enumerate(_rows(path, ("text_a",), ("label", "text_b", "qid")), 1):
        texts = tuple(row[name] for name in ("text_a", "text_b") if name in row)
        yield ClassifiedText(str(number), texts, row.get("label"), language, row.get("qid"))


@collected
def read_tagged(path: str | Path, *, language: str = "zh") -> Iterator[Tagged]:
    """Columns ``text_a`` (words between blanks; ``text`` or ``tokens`` as well) and perhaps ``label`` (as many tags).

    Raises:
        UserError: as :func:`read_classified`; a line has not as many tags as words.
    """
    for number, (row, place) in enumerate(_rows(path, _WORDS, _TAGS), 1):
        (words,) = (tuple(row[name].split()) for name in _WORDS if name in row)
        tags = [checked(words, tuple(row[name].split()), place) for name in _TAGS if name in row]
        yield Tagged(str(number), words, tags[0] if tags else None, language)


def checked(words: Sequence[str], tags: tuple[str, ...], place: str) -> tuple[str, ...]:
    """The tags, checked to be as many as the words."""
    if len(words) != len(tags):
        raise UserError(f"{place} has {len(words)} words but {len(tags)} tags; every word has one")
    return tags


def _rows(path: str | Path, texts: Sequence[str], others: Sequence[str]) -> Iterator[tuple[dict[str, str], str]]:
    """Every line as a mapping from column names, with its location.

    Args:
        path: path of the table.
        texts: alternative names of the required column.
        others: names of optional columns.
    """
    lines = each_row(path)
    names, place = next(lines)
    names = [name.strip() for name in names]
    if len(set(names) & set(texts)) != 1 or len(set(names)) < len(names) or not {*names} <= {*texts, *others}:
        raise UserError(
            f"{place} must name the columns, {texts[0]} and perhaps {', '.join(others)}, but it is "
            f"{shown(' | '.join(names))}"
        )
    empty = True
    for cells, place in lines:
        empty = False
        if len(cells) != len(names):
            raise UserError(
                f"{place} has {len(cells)} cells between tabs, but the first line names {len(names)}: "
                f"{', '.join(names)}"
            )
        row = {name: cell.strip() for name, cell in zip(names, cells, strict=True)}
        for name, cell in row.items():
            if not cell:
                raise UserError(f"{place} has nothing under {name}; every cell of a line must be filled")
        yield row, place
    if empty:
        raise UserError(f"{path} has a header and no line below it; at least one example was expected")
