"""Linked texts, one JSON object per line: the exchange format of linkers and models.

``{"id", "text", "language", "mentions": [{"start", "end", "surface", "candidates": [{"entity", "prior", "score"}],
"entity"}]}``. Characters are counted from 0 and an end is the one after the last; ``entity`` is null where a mention
means nothing that is known; a candidate has a prior or a score, or both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from mm_kptm.data.formats.mentions import MentionSpan, inside
from mm_kptm.errors import UserError
from mm_kptm.io.atomic import write_lines
from mm_kptm.io.records import Json, Record, expected, read_line, shown
from mm_kptm.io.text_lines import numbered_lines

_HALF = re.compile("[\ud800-\udfff]")  # half of a character, left where a text was cut; no UTF-8 can hold it


class Candidate(NamedTuple):
    """Candidate entity of a mention, with its prior and score."""

    entity: str
    prior: float  #: before the text around it was read
    score: float  #: after


class Link(NamedTuple):
    """Mention of a text with its candidates and its entity."""

    start: int  #: the first
    end: int  #: the one after the last
    candidates: tuple[Candidate, ...]  #: the best first
    entity: str | None  #: what they mean

    @property
    def score(self) -> float:
        """Score of the linked entity; 0 if there is none."""
        return next((one.score for one in self.candidates if one.entity == self.entity), 0.0)


@dataclass(frozen=True)
class LinkedText:
    """Text with its mentions, ordered by start, longer ones first."""

    id: str
    text: str
    language: str | None = None
    mentions: tuple[Link, ...] = ()

    def surface(self, link: Link) -> str:
        """Text of a mention."""
        return self.text[link.start : link.end]


def read_texts(path: str | Path) -> Iterator[LinkedText]:
    """Read texts without mentions, lazily: objects with ``text`` (``.jsonl``), or the lines of any other file.

    Raises:
        UserError: no such file, nothing in it, or a line is not UTF-8 or no such object; the message names the line.
    """
    path = Path(path)
    if path.suffix == ".jsonl":
        for record, number in objects(path):
            yield LinkedText(*heading(record, number))
    else:
        for number, line in _lines(path):
            yield LinkedText(str(number), line)


def read_linked(path: str | Path, *, overlaps: bool = False) -> Iterator[LinkedText]:
    """Read texts with their mentions, lazily.

    Args:
        path: a file of one JSON object a line.
        overlaps: whether mentions may overlap.

    Raises:
        UserError: as :func:`read_texts`, and for a mention outside its text, with other characters than it says, or
            over another one; the message names the line.
    """
    for record, number in objects(Path(path)):
        id_, text, language = heading(record, number)
        listed = expected(record.values.get("mentions", []), list, f"{record.place}: 'mentions'")
        links = [_link(Record.of(value, f"{record.place}, mentions[{at}]"), text) for at, value in enumerate(listed)]
        yield LinkedText(id_, text, language, in_order(links, text, record.place, overlaps=overlaps))


def objects(path: Path) -> Iterator[tuple[Record, int]]:
    """Objects of a file with their line numbers; ``UserError`` as in :func:`read_texts`."""
    for number, line in _lines(path):
        yield read_line(line, f"{path}, line {number}"), number


def heading(record: Record, number: int) -> tuple[str, str, str | None]:
    """Id (the line number if there is none), text and language of an object."""
    language = record.get("language", str) if record.values.get("language") is not None else None
    return record.name("id") if "id" in record.values else str(number), record.get("text", str), language


def in_order(links: Iterable[Link], text: str, place: str, *, overlaps: bool = False) -> tuple[Link, ...]:
    """Mentions of a text in order; ``UserError`` if two overlap but may not."""
    ordered = sorted(links, key=lambda link: (link.start, -link.end))
    for link, behind in pairwise(ordered):
        if not overlaps and behind.start < link.end:
            first, second = (f"{shown(text[one.start : one.end])} from {one.start}" for one in (link, behind))
            raise UserError(f"{place}: the mentions {first} and {second} overlap, but no two may; keep one of them")
    return tuple(ordered)


def as_json(linked: LinkedText) -> str:
    """Linked text as a JSON line, without the line break."""
    mentions = [
        {
            "start": link.start,
            "end": link.end,
            "surface": linked.surface(link),
            "candidates": [_candidate_as_json(one) for one in link.candidates],
            "entity": link.entity,
        }
        for link in linked.mentions
    ]
    values = {"id": linked.id, "text": linked.text, "language": linked.language, "mentions": mentions}
    line = json.dumps(values, ensure_ascii=False)
    return json.dumps(values) if _HALF.search(line) else line


def write_linked(texts: Iterable[LinkedText], path: str | Path) -> None:
    """Write texts lazily and atomically.

    Raises:
        UserError: the file cannot be written.
    """
    write_lines(path, map(as_json, texts))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, with their numbers."""
    if not path.exists() or path.is_dir():  # a pipe will do
        raise UserError(f"texts were looked for in {path}, but there is no such file")
    empty = True
    for number, line in numbered_lines(path):
        if line.strip():
            empty = False
            yield number, line
    if empty:
        raise UserError(f"{path} is empty; one text a line was expected")


def _link(record: Record, text: str) -> Link:
    start, end = record.get("start", int), record.get("end", int)
    inside(MentionSpan(start, end), text, record.place)
    if "surface" in record.values and (surface := record.get("surface", str)) != text[start:end]:
        raise UserError(
            f"{record.place} says {shown(surface)}, but characters {start} to {end} of its text are "
            f"{shown(text[start:end])}"
        )
    listed = expected(record.values.get("candidates", []), list, f"{record.place}: 'candidates'")
    candidates = tuple(
        _candidate(Record.of(value, f"{record.place}, candidates[{at}]")) for at, value in enumerate(listed)
    )
    entity = record.get("entity", str) if record.values.get("entity") is not None else None
    return Link(start, end, candidates, entity)


def _candidate(record: Record) -> Candidate:
    keys = [key for key in ("prior", "score") if key in record.values]
    if not keys:
        raise UserError(f"{record.place} has neither 'prior' nor 'score'; a candidate has one of them")
    return Candidate(record.get("entity", str), record.get(keys[0], float), record.get(keys[-1], float))


def _candidate_as_json(candidate: Candidate) -> dict[str, Json]:
    values: dict[str, Json] = {"entity": candidate.entity, "prior": candidate.prior}
    return values if candidate.score == candidate.prior else {**values, "score": candidate.score}
