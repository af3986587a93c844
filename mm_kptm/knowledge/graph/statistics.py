"""Graph statistics: size, degrees, connected components, aliases and descriptions by language.

Shapes: M triples, N entities.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mm_kptm.knowledge.graph.graph import KnowledgeGraph
from mm_kptm.knowledge.graph.triple_store import Integers


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
    """Compute all statistics in one pass."""
    numbered = graph.numbered()
    degrees = np.bincount(numbered[:, [0, 2]].ravel(), minlength=len(graph.entities))
    parts = np.bincount(components(numbered, len(graph.entities)))
    counts = Counter(numbered[:, 1].tolist()).most_common()
    words = graph.words
    return Summary(
        triples=len(graph),
        entities=len(graph.entities),
        relations={graph.relations[relation]: count for relation, count in counts},
        mean_degree=float(degrees.mean()),
        median_degree=float(np.median(degrees)),
        highest_degree=int(degrees.max()),
        best_known=graph.entities[int(degrees.argmax())],
        components=len(parts),
        largest_component=int(parts.max()),
        described={language: len(words.descriptions[language]) for language in sorted(words.descriptions)},
        named={language: len(words.aliases[language]) for language in sorted(words.aliases)},
    )


def components(triples: Integers, num_entities: int) -> Integers:
    """Weakly connected component of every entity, numbered from 0, [N]."""
    heads, tails = triples[:, 0], triples[:, 2]
    joined = coo_array((np.ones(len(triples), dtype=bool), (heads, tails)), shape=(num_entities, num_entities))
    _, part = connected_components(joined, directed=False)
    return part.astype(np.int64)
