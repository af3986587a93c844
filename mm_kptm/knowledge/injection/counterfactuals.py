"""Other facts than the true ones, for a graph that anybody made: what an effect of knowledge is measured against."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

from mm_kptm.knowledge.graph.graph import KnowledgeGraph
from mm_kptm.knowledge.graph.triples import Triple
from mm_kptm.random_streams import RandomStream


def swapped(graph: KnowledgeGraph, draw: RandomStream) -> KnowledgeGraph:
    """The graph in which every name has the facts of others: the objects of each relation change places.

    Heads and relations stay where they are, so that a text is told as much as before and of the same kind. No fact
    stays true: where so many share an object that somebody would get back their own, another object of the relation
    is drawn. A relation with a single object cannot be swapped and stays.
    """
    facts = list(graph)
    held: dict[tuple[str, str], set[str]] = defaultdict(set)
    places: dict[str, list[int]] = defaultdict(list)
    for place, (head, relation, tail) in enumerate(facts):
        held[head, relation].add(tail)
        places[relation].append(place)
    told = [fact.tail for fact in facts]
    for number, (relation, own) in enumerate(places.items()):
        stream = draw.child("swapped", number)
        ring = _ring([facts[place].tail for place in own], stream)
        step = max(Counter(facts[place].tail for place in own).values())
        objects = tuple(dict.fromkeys(facts[place].tail for place in own))
        for at, from_place in enumerate(ring):
            place, tail = own[from_place], facts[own[ring[(at + step) % len(ring)]]].tail
            true = held[facts[place].head, relation]
            others = [other for other in objects if other not in true]
            told[place] = others[stream.one(len(others))] if tail in true and others else tail
    return KnowledgeGraph(Triple(head, relation, tail) for (head, relation, _), tail in zip(facts, told, strict=True))


def objects_of(graph: KnowledgeGraph) -> Mapping[str, tuple[str, ...]]:
    """What the facts of each relation point at, each object once: what random facts draw from."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for _, relation, tail in graph:
        found[relation][tail] = None
    return {relation: tuple(objects) for relation, objects in found.items()}


def _ring(tails: list[str], draw: RandomStream) -> list[int]:
    """The places in a random order in which those of one tail are neighbours."""
    order = draw.orders(1, len(tails))[0].tolist()
    first: dict[str, int] = {}
    for place in order:
        first.setdefault(tails[place], len(first))
    return sorted(order, key=lambda place: first[tails[place]])
