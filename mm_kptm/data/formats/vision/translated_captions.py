"""Reader of captions beside their translations, with the words that are aligned (Zhou et al. 2021, UC2)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from mm_kptm.errors import UserError
from mm_kptm.io.records import read_lines, shown

_PAIR = re.compile(r"^(\d+)-(\d+)$")


@dataclass(frozen=True)
class TranslatedCaption:
    """A caption and its translation; words are what stands between blanks."""

    image: str
    caption: str
    translation: str
    languages: tuple[str, str]
    aligned: tuple[tuple[int, int], ...]  #: places of words that mean the same, in caption and translation


def read_translated_captions(path: str | Path) -> tuple[TranslatedCaption, ...]:
    """Lines of JSON: ``image``, ``caption``, ``translation``, ``languages`` and perhaps ``alignment``.

    An alignment is written as fast_align does: ``0-0 1-2``.

    Raises:
        UserError: the file cannot be read, a key is missing or of another kind, or an alignment names no word.

    """
    found = []
    for entry in read_lines(path):
        caption, translation = entry.get("caption", str).strip(), entry.get("translation", str).strip()
        if not caption or not translation:
            raise UserError(f"{entry.place} has an empty caption or translation; both must hold words")
        languages = entry.texts("languages")
        if len(languages) != 2 or languages[0] == languages[1]:
            raise UserError(f"{entry.place}: 'languages' must name two languages, but it is {shown(list(languages))}")
        aligned = _aligned(entry.text("alignment", ""), caption, translation, entry.place)
        found.append(
            TranslatedCaption(entry.get("image", str), caption, translation, (languages[0], languages[1]), aligned)
        )
    if not found:
        raise UserError(f"{path} holds no caption; one JSON object a line was expected")
    return tuple(found)


def _aligned(text: str, caption: str, translation: str, place: str) -> tuple[tuple[int, int], ...]:
    counts = len(caption.split()), len(translation.split())
    pairs = []
    for part in text.split():
        found = _PAIR.match(part)
        if found is None:
            raise UserError(f"{place}: 'alignment' must be pairs such as 0-0 1-2, but it holds {part!r}")
        one, other = int(found[1]), int(found[2])
        if one >= counts[0] or other >= counts[1]:
            raise UserError(
                f"{place}: 'alignment' joins the words {part}, but caption and translation have {counts[0]} and "
                f"{counts[1]}, counted from 0"
            )
        pairs.append((one, other))
    return tuple(pairs)
