"""Dependency trees in the CoNLL-U form of Universal Dependencies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mm_kptm.errors import UserError
from mm_kptm.io.text_lines import is_count, read_text

ROOT = 0  #: head of the root word


@dataclass(frozen=True)
class ParsedSentence:
    """The words of a sentence and their heads."""

    words: tuple[str, ...]
    heads: tuple[int, ...]  #: from 1, :data:`ROOT` for none


def read_conllu(path: str | Path) -> tuple[ParsedSentence, ...]:
    """The sentences of a file; multiword tokens and empty nodes are skipped.

    Raises:
        UserError: the file cannot be read, or a line is no word with ten fields whose head is in its sentence; the
            message names the line.
    """
    sentences: list[ParsedSentence] = []
    rows: list[tuple[str, int, str]] = []
    for number, line in enumerate([*read_text(path, "words with their heads").split("\n"), ""], 1):
        if line.startswith("#"):
            continue
        if not line.strip():
            if rows:
                sentences.append(_sentence(rows))
            rows = []
            continue
        cells, place = line.rstrip("\r").split("\t"), f"{path}, line {number}"
        if len(cells) != 10:
            raise UserError(f"{place} has {len(cells)} fields; a word of CoNLL-U has ten, set apart by tabs")
        if is_count(cells[0]):
            if not is_count(cells[6]) or int(cells[0]) != len(rows) + 1:
                raise UserError(
                    f"{place} is word {cells[0]} with the head {cells[6]!r}; words count from 1, and a head is the "
                    "number of a word, 0 for the root"
                )
            rows.append((cells[1], int(cells[6]), place))
    return tuple(sentences)


def _sentence(rows: list[tuple[str, int, str]]) -> ParsedSentence:
    for _, head, place in rows:
        if head > len(rows):
            raise UserError(f"{place} has the head {head}, but its sentence has {len(rows)} words")
    return ParsedSentence(tuple(word for word, _, _ in rows), tuple(head for _, head, _ in rows))
