"""Sentence pairs from files: Moses pairs, TSV, JSON lines, TMX and gettext catalogues, by the ending of the name."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from mm_kptm.crosslingual.corpora.compiled_catalogue import compiled_header, read_compiled
from mm_kptm.crosslingual.corpora.gettext_catalogue import Catalogue, read_catalogue
from mm_kptm.crosslingual.corpora.moses import aligned_lines, moses_files, read_aligned
from mm_kptm.crosslingual.corpora.tmx import read_tmx
from mm_kptm.errors import UserError
from mm_kptm.io.records import parse_json
from mm_kptm.io.text_lines import content_suffix, is_blank, numbered_lines, open_bytes

_ENDINGS = (".tsv", ".jsonl", ".json", ".tmx", ".po", ".mo")


def is_one_file(path: Path, languages: Sequence[str]) -> bool:
    """Whether a bitext is one file of two languages by its ending, and not the prefix of a file for each.

    >>> is_one_file(Path("memory.tmx.gz"), ("de", "en")), is_one_file(Path("europarl"), ("de", "en"))
    (True, False)
    """
    return len(languages) == 2 and content_suffix(path) in _ENDINGS


def bitext_files(path: Path, languages: Sequence[str]) -> dict[str, Path]:
    """The files of a bitext by language: the one of both, or those of :func:`~.moses.moses_files`."""
    return dict.fromkeys(languages, path) if is_one_file(path, languages) else moses_files(path, languages)


def bitext_lines(path: Path, languages: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The translations of a bitext of any format, one line at a time; of Moses files a sentence may be blank.

    Raises:
        UserError: as :func:`read_pairs`; a file of two languages holds no pair.
    """
    if not is_one_file(path, languages):
        yield from aligned_lines(path, languages)
        return
    source, target = languages
    empty = True
    for pair in read_pairs(path, (source, target)):
        empty = False
        yield tuple(" ".join(side.split("\n")) for side in pair)
    if empty:
        raise UserError(f"{path} holds no sentence in {source!r} with its translation in {target!r}")


def read_pairs(path: Path, languages: tuple[str, str]) -> Iterator[tuple[str, str]]:
    """The sentence pairs of a bitext, in the order of the languages; pairs with an empty side are left out.

    Args:
        path: a file ending in ``.tsv``, ``.jsonl``, ``.tmx``, ``.po`` or ``.mo``, packed or not; another name is the
            prefix of a Moses pair, ``corpus`` for ``corpus.de`` and ``corpus.en``.
        languages: codes of source and target; ``.tsv``, ``.po`` and ``.mo`` name none and are taken to hold these.

    Raises:
        UserError: a file is missing or a line of it is not in the format; the message names both.
    """
    suffix = content_suffix(path)
    if suffix == ".tsv":
        return read_tsv(path)
    if suffix in (".jsonl", ".json"):
        return read_jsonl(path, languages)
    if suffix == ".tmx":
        return _without_empty(read_tmx(path, languages))
    if suffix == ".po":
        return _without_empty(read_catalogue(path).pairs())
    if suffix == ".mo":
        return _without_empty(_compiled_pairs(path))
    return ((source, target) for source, target in read_aligned(path, languages))


def _compiled_pairs(path: Path) -> Iterator[tuple[str, str]]:
    if not path.is_file():
        raise UserError(f"{path} was to be read, but there is no such file")
    with open_bytes(path) as file:
        content = file.read()
    return Catalogue("utf-8", compiled_header(content, str(path)), read_compiled(content, str(path))).pairs()


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
