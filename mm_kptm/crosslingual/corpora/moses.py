"""Text files in one language, or in several that are aligned line by line (Moses style)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mm_kptm.errors import UserError
from mm_kptm.io.text_lines import is_blank, read_text


def moses_files(prefix: Path, languages: Sequence[str]) -> dict[str, Path]:
    """The file of every language: ``corpus.de`` and ``corpus.en`` of the prefix ``corpus``.

    >>> [path.name for path in moses_files(Path("europarl"), ("de", "en")).values()]
    ['europarl.de', 'europarl.en']
    """
    return {language: prefix.with_name(f"{prefix.name}.{language}") for language in languages}


def read_aligned(prefix: Path, languages: Sequence[str]) -> list[tuple[str, ...]]:
    """The sentences of every line, in the order of the languages; a line that shows nothing in one of them is left out.

    Raises:
        UserError: a file cannot be read, the files differ in their number of lines, or every line is blank somewhere.
    """
    files = moses_files(prefix, languages)
    columns = {path: read_text(path, "a sentence a line").rstrip("\n").split("\n") for path in files.values()}
    counts = {path.name: len(lines) for path, lines in columns.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} has {count}" for name, count in counts.items())
        raise UserError(f"translations stand in the same line of every file, but {listed} lines; align {prefix} again")
    rows = [tuple(sentence.strip() for sentence in row) for row in zip(*columns.values(), strict=True)]
    found = [row for row in rows if not any(map(is_blank, row))]
    if not found:
        raise UserError(f"{', '.join(counts)} have no line that holds a sentence in each of them")
    return found
