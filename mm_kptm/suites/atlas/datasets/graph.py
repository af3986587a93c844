"""The facts of Atlas as a graph for the verbs ``kg``, and the names of its entities for entity linking."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mm_kptm.errors import UserError, nearest
from mm_kptm.io.atomic import write_lines
from mm_kptm.suites.atlas.data.atlas import Atlas
from mm_kptm.suites.atlas.data.facts import Fact
from mm_kptm.suites.atlas.data.held_out import fraction

#: Relations between entities with labels; ``keyword`` is a relation to words of English.
COUNTRY_RELATIONS = (
    "borders", "capital", "currency", "member_of", "official_language", "part_of", "regional_language", "script",
    "spoken_by_many",
)  # fmt: skip
HELD_OUT = 0.1  #: of facts, for valid and for test each


def graph_parts(atlas: Atlas, relations: tuple[str, ...] = COUNTRY_RELATIONS) -> dict[str, list[Fact]]:
    """Facts of some relations as train, valid and test.

    A fact and its reverse (borders) lie in one part. A fact whose head or tail has no other fact in train is trained,
    and the two parts hold out a tenth of the rest each, whatever the seed.

    Raises:
        UserError: there is no such relation.
    """
    known = {relation for _, relation, _ in atlas.facts}
    for relation in relations:
        if relation not in known:
            raise UserError(f"Atlas has no relation {relation!r}{nearest(relation, known)}")
    parts: dict[str, list[Fact]] = {"train": [], "valid": [], "test": []}
    seen: set[str] = set()
    chosen = [fact for fact in atlas.facts if fact[1] in relations]
    for fact in sorted(chosen, key=_drawn):
        head, _, tail = fact
        at = _drawn(fact)
        part = "test" if at >= 1 - HELD_OUT else "valid" if at >= 1 - 2 * HELD_OUT else "train"
        if part != "train" and not {head, tail} <= seen:
            part = "train"
        if part == "train":
            seen |= {head, tail}
        parts[part].append(fact)
    return {part: sorted(facts) for part, facts in parts.items()}


def write_graph(atlas: Atlas, folder: Path, relations: tuple[str, ...] = COUNTRY_RELATIONS) -> dict[str, int]:
    """Write ``train.tsv``, ``valid.tsv`` and ``test.tsv``, and ``names.tsv`` for ``kg link``; returns their lines."""
    counts = {}
    for part, facts in graph_parts(atlas, relations).items():
        write_lines(folder / f"{part}.tsv", ("\t".join(fact) for fact in facts))
        counts[part] = len(facts)
    names = sorted(set(_names(atlas)))
    lines = ["surface\tentity\tcount\tlanguage", *("\t".join(map(str, name)) for name in names)]
    write_lines(folder / "names.tsv", lines)
    return {**counts, "names": len(names)}


def _names(atlas: Atlas) -> Iterator[tuple[str, str, int, str]]:
    """Labels of entities and names of concepts in every language; countries count by their inhabitants."""
    for entity, labels in atlas.labels.items():
        people = atlas.population.get(entity.removeprefix("territory:"), 0)
        for language, label in labels.items():
            yield label, entity, 1 + people // 1_000_000, language
    for language, names in atlas.names.items():
        for one, name in zip(atlas.concepts, names, strict=True):
            if name:
                yield name, f"concept:{one.code}", 1, language


def _drawn(fact: Fact) -> float:
    head, relation, tail = fact
    ends = sorted((head, tail)) if relation == "borders" else [head, tail]
    return fraction("graph", relation, *ends)
