"""Readers of K-BERT's tables: labelled sentences or sentence pairs, and words with entity tags.

Tab-separated, with a header that names the columns. The label column may be missing in data to predict on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mm_kptm.errors import UserError
from mm_kptm.io.records import read_table, shown

_WORDS, _TAGS = ("text_a", "text", "tokens"), ("label", "labels")


@dataclass(frozen=True)
class ClassifiedText:
    """A sentence or sentence pair with its class."""

    id: str
    texts: tuple[str, ...]
    label: str | None  #: None if unknown
    language: str = "en"
    question: str | None = None  #: question id of a candidate answer


@dataclass(frozen=True)
class Tagged:
    """The words of a sentence and their tags."""

    id: str
    words: tuple[str, ...]
    tags: tuple[str, ...] | None  #: None if unknown
    language: str = "en"


def read_classified(path: str | Path, *, language: str = "zh") -> tuple[ClassifiedText, ...]:
    """Columns ``text_a`` and perhaps ``label``, ``text_b`` and ``qid``, the question of a candidate answer.

    Raises:
        UserError: the file cannot be read, the first line names no columns, or a line has other cells than it names.
    """
    examples = []
    for number, (row, _) in enumerate(_rows(path, ("text_a",), ("label", "text_b", "qid")), 1):
        texts = tuple(row[name] for name in ("text_a", "text_b") if name in row)
        examples.append(ClassifiedText(str(number), texts, row.get("label"), language, row.get("qid")))
    return tuple(examples)


def read_tagged(path: str | Path, *, language: str = "zh") -> tuple[Tagged, ...]:
    """Columns ``text_a`` (words between blanks; ``text`` or ``tokens`` as well) and perhaps ``label`` (as many tags).

    Raises:
        UserError: as :func:`read_classified`; a line has not as many tags as words.
    """
    examples = []
    for number, (row, place) in enumerate(_rows(path, _WORDS, _TAGS), 1):
        (words,) = (tuple(row[name].split()) for name in _WORDS if name in row)
        tags = [checked(words, tuple(row[name].split()), place) for name in _TAGS if name in row]
        examples.append(Tagged(str(number), words, tags[0] if tags else None, language))
    return tuple(examples)


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
    (names, place), *lines = read_table(path)
    names = [name.strip() for name in names]
    if len(set(names) & set(texts)) != 1 or len(set(names)) < len(names) or not {*names} <= {*texts, *others}:
        raise UserError(
            f"{place} must name the columns, {texts[0]} and perhaps {', '.join(others)}, but it is "
            f"{shown(' | '.join(names))}"
        )
    if not lines:
        raise UserError(f"{path} has a header and no line below it; at least one example was expected")
    for cells, place in lines:
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
