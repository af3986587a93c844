"""Graph statistics: size, degrees, connected components, aliases and descriptions by language.

Shapes: M triples, N entities.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mm_kptm.knowledge.graph.graph import KnowledgeGraph
from mm_kptm.knowledge.graph.triple_store import Integers, TripleStore

_TOGETHER = 1 << 19  #: triples that are joined, or counted, at once


@dataclass(frozen=True)
class Summary:
    """Statistics of a graph."""

    triples: int
    entities: int
    relations: dict[str, int]  #: the triples of every relation, the most common first
    mean_degree: float  #: triples that an entity stands in, as head or tail
    median_degree: float
    highest_degree: int
    best_known: str  #: the entity that has the highest degree
    components: int  #: parts that no triple joins
    largest_component: int  #: entities of the largest part
    described: dict[str, int]  #: entities with a description, by language
    named: dict[str, int]  #: entities with aliases, by language


def summarise(graph: KnowledgeGraph) -> Summary:
    """Compute all statistics."""
    store = graph.store
    degrees = np.diff(store.starts) + _occurrences(store.tails, store.num_entities)
    parts = np.bincount(components(store))
    used = _occurrences(store.relations, len(graph.relations))
    common = np.argsort(-used, kind="stable").tolist()  # of equal counts the one that came first
    words = graph.words
    return Summary(
        triples=len(graph),
        entities=len(graph.entities),
        relations={graph.relations[relation]: int(used[relation]) for relation in common},
        mean_degree=float(degrees.mean()),
        median_degree=float(np.median(degrees)),
        highest_degree=int(degrees.max()),
        best_known=graph.entities[int(degrees.argmax())],
        components=len(parts),
        largest_component=int(parts.max()),
        described={language: len(words.descriptions[language]) for language in sorted(words.descriptions)},
        named={language: len(words.aliases[language]) for language in sorted(words.aliases)},
    )


def components(store: TripleStore) -> Integers:
    """Weakly connected component of every entity, numbered from 0, [N]."""
    part: Integers = np.arange(store.num_entities, dtype=np.int32)
    for first in range(0, len(store), _TOGETHER):  # what SciPy makes of a graph is many times as large as the graph
        places = np.arange(first, min(first + _TOGETHER, len(store)))
        heads, tails = part[store.heads_of(places)], part[store.tails[places]]
        joined = coo_array((np.ones(len(places), dtype=bool), (heads, tails)), shape=(len(part), len(part)))
        part = connected_components(joined, directed=False)[1][part]
    return part


def _occurrences(numbers: Integers, count: int) -> Integers:
    """How often each number below ``count`` occurs; NumPy takes eight bytes for each of those that it counts."""
    found: Integers = np.zeros(count, dtype=np.int64)
    for start in range(0, len(numbers), _TOGETHER):
        found += np.bincount(numbers[start : start + _TOGETHER], minlength=count)
    return found
