"""Tables of similar words, which replace masked ones (Cui et al. 2020, MacBERT)."""

from __future__ import annotations

from pathlib import Path

from mm_kptm.errors import UserError
from mm_kptm.io.records import once, read_table


def read_similar_words(path: str | Path) -> dict[str, tuple[str, ...]]:
    """Read tab-separated lines of a word and its similar words.

    MacBERT's come from word vectors of the Synonyms toolkit; any table works.

    Raises:
        UserError: no such file, a line names no similar word or a blank one, or a word has two lines; the message names
            the line.
    """
    found: dict[str, tuple[str, ...]] = {}
    seen: dict[str, str] = {}
    for cells, place in read_table(path):
        word, *similar = (cell.strip() for cell in cells)
        if not similar or not all((word, *similar)):
            raise UserError(
                f"{place} should be a word and words similar to it, set apart by tabs; it is {' '.join(cells)[:40]!r}"
            )
        once(word, place, seen, "the word")
        found[word] = tuple(similar)
    return found
