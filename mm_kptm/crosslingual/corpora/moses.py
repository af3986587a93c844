"""Text files in one language, or in several that are aligned line by line (Moses style).

A folder that the library ``datasets`` saved stands for such files: its rows have a text in each language, in columns
called as these are or as fields of the column ``translation``; one language alone may have the column ``text``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from mm_kptm.data.formats.arrow_folders import TRANSLATION, column_names, read_rows
from mm_kptm.errors import UserError
from mm_kptm.io.text_lines import is_blank, numbered_lines


def moses_files(prefix: Path, languages: Sequence[str]) -> dict[str, Path]:
    """The file of every language: ``corpus.de`` and ``corpus.en`` of the prefix ``corpus``; a folder is that of all.

    >>> [path.name for path in moses_files(Path("europarl"), ("de", "en")).values()]
    ['europarl.de', 'europarl.en']
    """
    if prefix.is_dir():
        return dict.fromkeys(languages, prefix)
    return {language: prefix.with_name(f"{prefix.name}.{language}") for language in languages}


def read_aligned(prefix: Path, languages: Sequence[str]) -> list[tuple[str, ...]]:
    """The sentences of every line, in the order of the languages; a line that shows nothing in one of them is left out.

    Raises:
        UserError: a file cannot be read, the files differ in their number of lines, or every line is blank somewhere.
    """
    return [row for row in aligned_lines(prefix, languages) if not any(map(is_blank, row))]


def aligned_lines(prefix: Path, languages: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Every line of the files, one at a time, in the order of the languages; a sentence may be blank.

    Raises:
        UserError: as :func:`read_aligned`; of a number of lines, when the last one is read.
    """
    if prefix.is_dir():
        yield from _rows(prefix, languages)
        return
    files = moses_files(prefix, languages)
    counts = dict.fromkeys(files.values(), 0)  # up to the last line that is not empty
    empty, said = set(files.values()), False
    columns = ((line for _, line in numbered_lines(path)) for path in files.values())
    for number, row in enumerate(zip_longest(*columns, fillvalue=""), 1):
        stripped = tuple(sentence.strip() for sentence in row)
        for path, line, sentence in zip(files.values(), row, stripped, strict=True):
            counts[path] = number if line else counts[path]
            if sentence:
                empty.discard(path)
        said |= not any(map(is_blank, stripped))
        yield stripped
    if empty:
        raise UserError(f"{min(empty)} is empty; a sentence a line was expected")
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{path.name} has {count}" for path, count in counts.items())
        raise UserError(f"translations stand in the same line of every file, but {listed} lines; align {prefix} again")
    if not said:
        names = ", ".join(path.name for path in counts)
        raise UserError(f"{names} have no line that holds a sentence in each of them")


def _rows(folder: Path, languages: Sequence[str]) -> Iterator[tuple[str, ...]]:
    columns, said = tuple(languages), False
    if len(columns) == 1 and columns[0] not in column_names(folder, within=TRANSLATION):
        columns = ("text",)
    for row in read_rows(folder, columns, within=TRANSLATION):
        stripped = tuple(" ".join(sentence.split("\n")).strip() for sentence in row)
        said |= not any(map(is_blank, stripped))
        yield stripped
    if not said:
        raise UserError(f"{folder} has no row that holds a sentence in each of {', '.join(languages)}")
