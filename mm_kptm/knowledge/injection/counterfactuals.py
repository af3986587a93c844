"""Counterfactual facts for any graph: swapped facts, and random ones.

A control has the shape of the truth: every name keeps its relations and the number of its facts, so that no effect can
come from which relations a name has.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from mm_kptm.knowledge.graph.graph import KnowledgeGraph
from mm_kptm.knowledge.graph.triples import Triple
from mm_kptm.random_streams import RandomStream


def swapped(graph: KnowledgeGraph, draw: RandomStream) -> KnowledgeGraph:
    """The graph of :func:`swapped_facts`, with the same entities and names."""
    return KnowledgeGraph(swapped_facts(tuple(graph), draw), graph.words, entities=graph.entities)


def swapped_facts(facts: Sequence[Triple], draw: RandomStream) -> list[Triple]:
    """Distinct facts in which every name has those of others: the objects of each relation change places.

    Heads and relations stay where they are, so that a text carries as many facts as before and of the same kind. No
    fact stays true, and no name gets an object twice by one relation: where so many share an object that either would
    happen, another object of the relation is drawn. A relation whose objects all belong to a name cannot be swapped
    there and stays.

    Returns:
        one fact for each, in the same order.
    """
    true: dict[tuple[str, str], set[str]] = defaultdict(set)
    places: dict[str, list[int]] = defaultdict(list)
    for place, (head, relation, tail) in enumerate(facts):
        true[head, relation].add(tail)
        places[relation].append(place)
    tails = [fact.tail for fact in facts]
    taken: dict[tuple[str, str], set[str]] = defaultdict(set)
    for number, (relation, own) in enumerate(places.items()):
        stream = draw.child("swapped", number)
        ring = _ring([facts[place].tail for place in own], stream)
        step = max(Counter(facts[place].tail for place in own).values())
        objects = tuple(dict.fromkeys(facts[place].tail for place in own))
        for at, from_place in enumerate(ring):
            place, tail = own[from_place], facts[own[ring[(at + step) % len(ring)]]].tail
            key = facts[place].head, relation
            if tail in true[key] or tail in taken[key]:
                false = [other for other in objects if other not in true[key]]
                others = [other for other in false if other not in taken[key]] or false
                tail = others[stream.one(len(others))] if others else facts[place].tail
            taken[key].add(tail)
            tails[place] = tail
    return [fact._replace(tail=tail) for fact, tail in zip(facts, tails, strict=True)]


def random_facts(
    facts: Sequence[Triple], objects: Mapping[str, Sequence[str]], draw: RandomStream
) -> tuple[Triple, ...]:
    """The facts of one name with objects drawn from those of their relation, none twice while there are others.

    Args:
        facts: the true ones.
        objects: by relation, as :func:`objects_of`, each once.
        draw: one draw a fact, and more where an object is drawn again.
    """
    drawn: list[Triple] = []
    taken: dict[str, set[str]] = defaultdict(set)
    for fact in facts:
        known, before = objects[fact.relation], taken[fact.relation]
        tail = known[draw.one(len(known))]
        while tail in before and len(before) < len(known):
            tail = known[draw.one(len(known))]
        before.add(tail)
        drawn.append(fact._replace(tail=tail))
    return tuple(drawn)


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
