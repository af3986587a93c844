"""Importers of other linkers' output: TAGME, REL, ReFinED and spaCy.

One JSON object a line, with ``text``, perhaps ``id`` and ``language``, and what the linker answered: TAGME's response
(``annotations``); REL's list (``annotations``: first character, length, mention, title, confidence and more); the spans
of ReFinED as objects (``spans``); a document of spaCy as ``doc.to_json()`` writes it, with the ``kb_id`` of an entity
linker or the ``id`` of an EntityRuler on its ``ents`` or, where it has none, on its groups of ``spans``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import accumulate
from pathlib import Path

from mm_kptm.data.formats.mentions import MentionSpan, inside
from mm_kptm.errors import UserError, nearest
from mm_kptm.io.records import Json, Record, expected, shown
from mm_kptm.knowledge.linking.aliases import Aliases
from mm_kptm.knowledge.linking.linked_texts import Candidate, Link, LinkedText, heading, in_order, objects

Naming = Callable[[str], str | None]  #: from what a linker calls an entity to its name here; None if it is not known
Reading = Callable[[Record, str], Iterator[Link]]  #: the mentions of a record's text, by the linker's names

_NOTHING = ("", "NIL", "Q-1")  # how linkers write that a mention means nothing that they know


def as_it_is(name: str) -> str | None:
    """Keep the linker's entity name."""
    return name


def known_to(aliases: Aliases) -> Naming:
    """Map entity names to a dictionary: names it knows, with spaces or underscores; else its best entity for the name.

    So Wikipedia's titles become the entities of a graph that knows the titles as aliases.
    """
    names = aliases.names()

    @cache
    def naming(theirs: str) -> str | None:
        title = theirs.replace("_", " ")
        for name in (theirs, title, theirs.replace(" ", "_")):
            if name in aliases.entities:
                return name
        for _, start, end, number in names.index.find([title]):
            if (start, end) == (0, len(title)):
                return names.priors(number, title)[0].entity
        return None

    return naming


def read_imported(
    path: str | Path, linker: str, naming: Naming = as_it_is, *, threshold: float = 0.0, overlaps: bool = False
) -> Iterator[LinkedText]:
    """Read texts linked by another linker, lazily; a candidate that is not known keeps the linker's name.

    Args:
        path: a file of one JSON object a line.
        linker: one of :data:`LINKERS`.
        naming: maps the linker's name of an entity to ours.
        threshold: mentions with a lower score are left without an entity.
        overlaps: whether mentions may overlap.

    Raises:
        UserError: there is no such linker, no such file, or a line is not of its form; the message names the line.
    """
    if linker not in LINKERS:
        raise UserError(f"mentions of {linker!r} are not read{nearest(linker, LINKERS)}")
    for record, number in objects(Path(path)):
        id_, text, language = heading(record, number)
        links = [_renamed(link, naming, threshold) for link in LINKERS[linker](record, text)]
        yield LinkedText(id_, text, language, in_order(links, text, record.place, overlaps=overlaps))


def _renamed(link: Link, naming: Naming, threshold: float) -> Link:
    candidates = tuple(one._replace(entity=naming(one.entity) or one.entity) for one in link.candidates)
    sure = link.entity is not None and link.score >= threshold
    return link._replace(candidates=candidates, entity=naming(link.entity) if sure and link.entity else None)


def _tagme(record: Record, text: str) -> Iterator[Link]:
    """TAGME's annotations: offsets in UTF-16 units, as in Java; the confidence is rho."""
    places = list(accumulate((1 + (letter > "\uffff") for letter in text), initial=0))
    for found in _listed(record, "annotations"):
        start, end = (_of_units(found.get(key, int), places) for key in ("start", "end"))
        inside(MentionSpan(start, end), text, found.place)
        _alike(found.get("spot", str), text[start:end], found.place)
        yield _single(start, end, found.get("title", str), found.get("rho", float))


def _rel(record: Record, text: str) -> Iterator[Link]:
    for at, entry in enumerate(record.get("annotations", list)):
        place = f"{record.place}, annotations[{at}]"
        listed = expected(entry, list, place)
        if len(listed) < 5:
            raise UserError(f"{place} has {len(listed)} values; REL gives start, length, mention, title, confidence")
        start, length = (expected(value, int, f"{place}[{k}]") for k, value in enumerate(listed[:2]))
        inside(MentionSpan(start, start + length), text, place)
        _alike(expected(listed[2], str, f"{place}[2]"), text[start : start + length], place)
        score = expected(listed[4], float, f"{place}[4]")
        yield _single(start, start + length, expected(listed[3], str, f"{place}[3]"), score)


def _refined(record: Record, text: str) -> Iterator[Link]:
    for found in _listed(record, "spans"):
        start = found.get("start", int)
        end = start + found.get("ln", int)
        inside(MentionSpan(start, end), text, found.place)
        _alike(found.get("text", str), text[start:end], found.place)
        entity = _refined_entity(found.values.get("predicted_entity"), found.place)
        sure = found.values.get("entity_linking_model_confidence_score")
        score = 1.0 if sure is None else expected(sure, float, found.place)
        known = [one for one in _refined_candidates(found) if one.entity != entity]
        best = [] if entity is None else [Candidate(entity, score, score)]
        yield Link(start, end, (*best, *sorted(known, key=lambda one: (-one.score, one.entity))), entity)


def _refined_candidates(found: Record) -> Iterator[Candidate]:
    """Candidates with their scores, if the spans have them."""
    if found.values.get("candidate_entities") is not None:
        for pair in found.get("candidate_entities", list):
            listed = expected(pair, list, f"{found.place}: a candidate")
            if len(listed) != 2:
                raise UserError(f"{found.place}: a candidate is an entity and its score, not {shown(listed)}")
            name, score = _refined_entity(listed[0], found.place), expected(listed[1], float, found.place)
            if name is not None:
                yield Candidate(name, score, score)


def _refined_entity(value: Json, place: str) -> str | None:
    """Entity by its Wikidata id, else by its title."""
    if isinstance(value, dict):
        record = Record(value, place)
        names = [record.get(key, str) for key in ("wikidata_entity_id", "wikipedia_entity_title") if value.get(key)]
    else:
        names = [] if value is None else [expected(value, str, place)]
    return next((name for name in names if name not in _NOTHING), None)


def _spacy(record: Record, text: str) -> Iterator[Link]:
    groups = [_listed(record, "ents")] if record.values.get("ents") else []
    if not groups and record.values.get("spans"):
        spans = Record.of(record.values["spans"], f"{record.place}: 'spans'")
        groups = [_listed(spans, name) for name in sorted(spans.values)]
    for found in (found for group in groups for found in group):
        start, end = found.get("start", int), found.get("end", int)
        inside(MentionSpan(start, end), text, found.place)
        names = [found.get(key, str) for key in ("kb_id", "ent_id", "id") if isinstance(found.values.get(key), str)]
        yield _single(start, end, next((name for name in names if name not in _NOTHING), ""), 1.0)


#: Readers by linker.
LINKERS: dict[str, Reading] = {"tagme": _tagme, "rel": _rel, "refined": _refined, "spacy": _spacy}


def _single(start: int, end: int, name: str, score: float) -> Link:
    """Mention of a linker that outputs its decision only."""
    if name in _NOTHING:
        return Link(start, end, (), None)
    return Link(start, end, (Candidate(name, score, score),), name)


def _listed(record: Record, key: str) -> list[Record]:
    """Objects of a list, which may be empty."""
    listed = record.get(key, list)
    return [Record.of(value, f"{record.place}, {key}[{at}]") for at, value in enumerate(listed)]


def _of_units(unit: int, places: Sequence[int]) -> int:
    """Character of a UTF-16 unit, unchanged outside the text."""
    return unit if unit < 0 or unit > places[-1] else bisect_left(places, unit)


def _alike(theirs: str, ours: str, place: str) -> None:
    """Raise ``UserError`` if a mention differs from the linker's text, spaces and case aside."""
    if theirs.casefold().split() != ours.casefold().split():
        raise UserError(f"{place} says {shown(theirs)}, but those characters of its text are {shown(ours)}")
