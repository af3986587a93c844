"""Sentence pairs from files: Moses pairs, TSV, JSON lines, TMX and gettext catalogues, by the ending of the name."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from mm_kptm.crosslingual.corpora.gettext_catalogue import read_catalogue
from mm_kptm.crosslingual.corpora.moses import read_aligned
from mm_kptm.crosslingual.corpora.tmx import read_tmx
from mm_kptm.errors import UserError
from mm_kptm.io.records import parse_json
from mm_kptm.io.text_lines import content_suffix, is_blank, numbered_lines


def read_pairs(path: Path, languages: tuple[str, str]) -> Iterator[tuple[str, str]]:
    """The sentence pairs of a bitext, in the order of the languages; pairs with an empty side are left out.

    Args:
        path: a file ending in ``.tsv``, ``.jsonl``, ``.tmx`` or ``.po``, packed or not; another name is the prefix of a
            Moses pair, ``corpus`` for ``corpus.de`` and ``corpus.en``.
        languages: codes of source and target; a ``.tsv`` or ``.po`` names none and is taken to hold these.

    Raises:
        UserError: a file is missing or a line of it is not in the format; the message names both.
    """
    suffix = content_suffix(path)
    if suffix == ".tsv":
        return read_tsv(path)
    if suffix in (".jsonl", ".json"):
        return read_jsonl(path, languages)
    if suffix == ".tmx":
        return read_tmx(path, languages)
    if suffix == ".po":
        return _without_empty(read_catalogue(path).pairs())
    return ((source, target) for source, target in read_aligned(path, languages))


def read_tsv(
    path: Path, *, columns: tuple[int, int] = (0, 1), num_columns: int = 2, quoted: bool = False
) -> Iterator[tuple[str, str]]:
    """The pairs of a file with tabs between columns.

    Args:
        path: UTF-8 file without a header.
        columns: of source and target, from 0; mined text has the score first, ``(1, 2)``.
        num_columns: of every line.
        quoted: whether a csv writer wrote the file, as those of XTREME, so that quotes are mark-up.

    Raises:
        UserError: a line has another number of columns.
    """
    for number, line in numbered_lines(path):
        if not line.strip():
            continue
        fields = next(csv.reader([line], delimiter="\t")) if quoted else line.split("\t")
        if len(fields) != num_columns:
            raise UserError(
                f"{path}, line {number} has {len(fields)} columns instead of {num_columns}; tabs part source and target"
            )
        source, target = (fields[column].strip() for column in columns)
        if not is_blank(source) and not is_blank(target):
            yield source, target


def read_jsonl(path: Path, languages: tuple[str, str]) -> Iterator[tuple[str, str]]:
    """The pairs of a file of JSON objects, one per line, each with a text per language or such under ``translation``.

    Raises:
        UserError: a line is no such object.

    The objects are ``{"de": "Hallo", "en": "Hello"}`` or ``{"translation": {"de": "Hallo", "en": "Hello"}}``.
    """
    for number, line in numbered_lines(path):
        if not line.strip():
            continue
        entry = parse_json(line, f"{path}, line {number}", whole=False)
        texts = entry.get("translation", entry) if isinstance(entry, dict) else entry
        sides = [texts.get(language) if isinstance(texts, dict) else None for language in languages]
        missing = next((name for name, side in zip(languages, sides, strict=True) if not isinstance(side, str)), None)
        if missing is not None:
            raise UserError(f"{path}, line {number} has no text in {missing!r}; a text per language was expected")
        source, target = (str(side).strip() for side in sides)
        if not is_blank(source) and not is_blank(target):
            yield source, target


def _without_empty(pairs: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    return ((source, target) for source, target in pairs if not is_blank(source) and not is_blank(target))
