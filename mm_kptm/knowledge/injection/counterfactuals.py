"""Counterfactual facts for any graph: swapped facts, and the objects that random facts are drawn from."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

from mm_kptm.knowledge.graph.graph import KnowledgeGraph
from mm_kptm.knowledge.graph.triples import Triple
from mm_kptm.random_streams import RandomStream


def swapped(graph: KnowledgeGraph, draw: RandomStream) -> KnowledgeGraph:
    """Counterfactual graph: the objects of each relation are permuted, so that every name has the facts of others.

    Heads and relations stay, so that a text is injected with as many facts of the same kinds. No fact stays true: where
    the permutation would return a name its own object, another object of the relation is drawn. A relation with one
    object cannot be swapped and stays.
    """
    facts = list(graph)
    objects_by_query: dict[tuple[str, str], set[str]] = defaultdict(set)
    places: dict[str, list[int]] = defaultdict(list)
    for place, (head, relation, tail) in enumerate(facts):
        objects_by_query[head, relation].add(tail)
        places[relation].append(place)
    tails = [fact.tail for fact in facts]
    for number, (relation, own) in enumerate(places.items()):
        stream = draw.child("swapped", number)
        ring = _ring([facts[place].tail for place in own], stream)
        step = max(Counter(facts[place].tail for place in own).values())
        objects = tuple(dict.fromkeys(facts[place].tail for place in own))
        for at, from_place in enumerate(ring):
            place, tail = own[from_place], facts[own[ring[(at + step) % len(ring)]]].tail
            true = objects_by_query[facts[place].head, relation]
            others = [other for other in objects if other not in true]
            tails[place] = others[stream.one(len(others))] if tail in true and others else tail
    return KnowledgeGraph(Triple(head, relation, tail) for (head, relation, _), tail in zip(facts, tails, strict=True))


def objects_of(graph: KnowledgeGraph) -> Mapping[str, tuple[str, ...]]:
    """Distinct objects of each relation, from which random facts are drawn."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for _, relation, tail in graph:
        found[relation][tail] = None
    return {relation: tuple(objects) for relation, objects in found.items()}


def _ring(tails: list[str], draw: RandomStream) -> list[int]:
    """Random order of indices in which equal tails are adjacent."""
    order = draw.orders(1, len(tails))[0].tolist()
    first: dict[str, int] = {}
    for place in order:
        first.setdefault(tails[place], len(first))
    return sorted(order, key=lambda place: first[tails[place]])
