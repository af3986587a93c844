"""Readers of texts with mentions: entity typing (Open Entity, FIGER) and relations (TACRED, FewRel).

Each dataset is found in two forms: as released by its authors, in tokens, and as ERNIE of Tsinghua released it, in
characters and with the entities that a linker found. Both become the same values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from mm_kptm.errors import UserError
from mm_kptm.io.records import Json, Record, expected, read_json, read_lines, read_listed
from mm_kptm.io.text_lines import read_text

T = TypeVar("T")


class MentionSpan(NamedTuple):
    """A character span of a text, optionally with its entity."""

    start: int
    end: int  #: exclusive
    entity: str = ""
    score: float = 1.0  #: confidence of the linker


@dataclass(frozen=True, slots=True)
class TypedMention:
    """A mention and its types."""

    id: str
    text: str
    mention: MentionSpan
    types: tuple[str, ...] | None  #: None if unknown
    links: tuple[MentionSpan, ...] = ()  #: entities linked in the text
    language: str = "en"


@dataclass(frozen=True, slots=True)
class RelatedMentions:
    """Two mentions and their relation."""

    id: str
    text: str
    head: MentionSpan
    tail: MentionSpan
    relation: str | None  #: None if unknown
    links: tuple[MentionSpan, ...] = ()
    language: str = "en"


def read_open_entity(path: str | Path) -> tuple[TypedMention, ...]:
    """Open Entity: ERNIE's list, or the released lines with the contexts of a mention (Choi et al. 2018).

    Raises:
        UserError: the file cannot be read, a key is missing or has another type, a span lies outside its text.
    """
    return _listed_or_lines(path, _ernie_typing, _choi)


def read_figer(path: str | Path) -> tuple[TypedMention, ...]:
    """FIGER: ERNIE's list, or lines of tokens with several mentions (Ling and Weld 2012); errors as Open Entity's."""
    return _listed_or_lines(path, _ernie_typing, _figer)


def read_tacred(path: str | Path) -> tuple[RelatedMentions, ...]:
    """TACRED: ERNIE's list, or the released one of tokens with a subject (head) and an object (tail)."""
    return tuple(
        _tacred(record, at) if "token" in record.values else _ernie_relation(record, at)
        for at, record in enumerate(read_listed(path))
    )


def read_fewrel(path: str | Path) -> tuple[RelatedMentions, ...]:
    """FewRel: ERNIE's list, or the released object of relations (Han et al. 2018)."""
    held = read_json(path)
    if isinstance(held, list):
        return tuple(_ernie_relation(record, at) for at, record in enumerate(read_listed(path)))
    found: list[RelatedMentions] = []
    for relation in Record.of(held, str(path)).values:
        for record in Record.of(held, str(path)).records(relation):
            tokens = record.texts("tokens", blank=True)
            text, spans = _joined(tokens)
            head, tail = (_token_span(record, key, spans) for key in ("h", "t"))
            found.append(RelatedMentions(str(len(found)), text, head, tail, relation, (head, tail)))
    if not found:
        raise UserError(f"{path} holds no relation; at least one was expected")
    return tuple(found)


def span(record: Record, key: str, text: str) -> MentionSpan:
    """``[first character, the one after the last]`` under a key, inside the text.

    Raises:
        UserError: it is something else, empty, or outside.
    """
    start, end = record.numbers(key, 2)
    return inside(MentionSpan(int(start), int(end)), text, f"{record.place}: {key!r}")


def inside(span: MentionSpan, text: str, place: str) -> MentionSpan:
    """The span, checked to lie inside the text."""
    if not 0 <= span.start < span.end <= len(text):
        raise UserError(
            f"{place} says characters {span.start} to {span.end} of a text of {len(text)}; a mention begins before it "
            "ends, inside the text"
        )
    return span


def _listed_or_lines(
    path: str | Path, listed: Callable[[Record, int], T], lines: Callable[[Record, int], Sequence[T]]
) -> tuple[T, ...]:
    if read_text(path, "a JSON file").lstrip().startswith("["):
        return tuple(listed(record, at) for at, record in enumerate(read_listed(path)))
    return tuple(one for at, record in enumerate(read_lines(path)) for one in lines(record, at))


def _ernie_typing(record: Record, at: int) -> TypedMention:
    text = record.get("sent", str)
    mention = inside(MentionSpan(record.get("start", int), record.get("end", int)), text, record.place)
    types = record.texts("labels") if "labels" in record.values else None
    return TypedMention(str(at), text, mention, types, _links(record, "ents", text))


def _choi(record: Record, at: int) -> tuple[TypedMention]:
    left, right = (
        [expected(word, str, f"{record.place}: {key!r}") for word in record.get(key, list)]
        for key in ("left_context_token", "right_context_token")
    )
    mention = record.get("mention_span", str)
    before = "".join(f"{word} " for word in left)
    text = " ".join([*left, mention, *right])
    place = inside(MentionSpan(len(before), len(before) + len(mention)), text, f"{record.place}: 'mention_span'")
    types = record.texts("y_str") if "y_str" in record.values else None
    return (TypedMention(record.name("annot_id") if "annot_id" in record.values else str(at), text, place, types),)


def _figer(record: Record, at: int) -> tuple[TypedMention, ...]:
    text, spans = _joined(record.texts("tokens", blank=True))
    found = []
    for number, mention in enumerate(record.records("mentions")):
        first, stop = mention.get("start", int), mention.get("end", int)
        place = _between(spans, first, stop - 1, mention.place)
        types = mention.texts("labels") if "labels" in mention.values else None
        found.append(TypedMention(f"{at}-{number}", text, place, types))
    return tuple(found)


def _ernie_relation(record: Record, at: int) -> RelatedMentions:
    """A relation example of ERNIE's form; head and tail at character 1 are moved to 0, as in the released readers."""
    text = record.get("text", str)
    ends = tuple(end._replace(start=0) if end.start == 1 else end for end in _links(record, "ents", text))
    if len(ends) != 2:
        raise UserError(f"{record.place}: 'ents' must hold head and tail, but it holds {len(ends)}")
    relation = record.get("label", str) if "label" in record.values else None
    links = _links(record, "ann", text) if "ann" in record.values else ends
    return RelatedMentions(str(at), text, *ends, relation, links)


def _tacred(record: Record, at: int) -> RelatedMentions:
    text, spans = _joined(record.texts("token", blank=True))
    head, tail = (
        _between(spans, record.get(f"{end}_start", int), record.get(f"{end}_end", int), f"{record.place}: {end}_start")
        for end in ("subj", "obj")
    )
    relation = record.get("relation", str) if "relation" in record.values else None
    return RelatedMentions(record.name("id") if "id" in record.values else str(at), text, head, tail, relation)


def _links(record: Record, key: str, text: str) -> tuple[MentionSpan, ...]:
    """Entity, first character, end and perhaps confidence of every mention."""
    found = []
    for at, entry in enumerate(record.get(key, list)):
        place = f"{record.place}: {key}[{at}]"
        listed = expected(entry, list, place)
        if len(listed) not in (3, 4):
            raise UserError(f"{place} must hold entity, start, end and perhaps a score, but it holds {len(listed)}")
        score = expected(listed[3], float, f"{place}[3]") if len(listed) == 4 else 1.0
        start, end = (expected(listed[k], int, f"{place}[{k}]") for k in (1, 2))
        entity = expected(listed[0], str, f"{place}[0]")
        found.append(inside(MentionSpan(start, end, entity, score), text, place))
    return tuple(found)


def _token_span(record: Record, key: str, spans: Sequence[MentionSpan]) -> MentionSpan:
    """FewRel's ``[name, entity, [[tokens of a mention], ...]]``: its first mention."""
    listed: Sequence[Json] = record.get(key, list)
    place = f"{record.place}: {key!r}"
    if len(listed) != 3:
        raise UserError(f"{place} must hold a name, an entity and mentions, but it holds {len(listed)} things")
    mentions = expected(listed[2], list, place)
    if not mentions or not expected(mentions[0], list, place):
        raise UserError(f"{place} has no mention; the tokens of one at least were expected")
    tokens = [expected(token, int, place) for token in expected(mentions[0], list, place)]
    return _between(spans, min(tokens), max(tokens), place)._replace(entity=expected(listed[1], str, place))


def _joined(tokens: Sequence[str]) -> tuple[str, list[MentionSpan]]:
    """Tokens joined by spaces, and the span of each."""
    spans, end = [], 0
    for token in tokens:
        spans.append(MentionSpan(end, end + len(token)))
        end += len(token) + 1
    return " ".join(tokens), spans


def _between(spans: Sequence[MentionSpan], first: int, last: int, place: str) -> MentionSpan:
    if not 0 <= first <= last < len(spans):
        raise UserError(f"{place} says tokens {first} to {last}, but the tokens are 0 to {len(spans) - 1}")
    return MentionSpan(spans[first].start, spans[last].end)
