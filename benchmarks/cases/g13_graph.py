"""G13: a graph of a million triples: building it, and everything within two and three hops of 64 entities.

The peer is networkx; the careful peer a dictionary of lists. All get the same integers, count repeated triples once,
and answer with the triples themselves. No peer looks for a frontier behind the last hop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import networkx as nx
import numpy as np

from benchmarks.harness import OURS, PEER, Case, Unequal
from mm_kptm.knowledge.stores import Integers, TripleStore

TRIPLES, ENTITIES, RELATIONS, SEEDS, TAIL = 1_000_000, 100_000, 50, 64, 0.6
VERSIONS = {"networkx": nx.__version__, "numpy": np.__version__}
Triples = list[tuple[int, int, int]]


def triples(seed: int) -> Integers:
    """A few entities are in very many triples, most in a few."""
    generator = np.random.default_rng(seed)
    weight = np.arange(1, ENTITIES + 1) ** -TAIL
    ends = [generator.permutation(ENTITIES)[generator.choice(ENTITIES, TRIPLES, p=weight / weight.sum())] for _ in "ht"]
    return np.stack([ends[0], generator.integers(0, RELATIONS, TRIPLES), ends[1]], axis=1)


def _networkx(given: Integers) -> nx.MultiDiGraph:
    graph = nx.MultiDiGraph()
    graph.add_edges_from((head, tail, relation) for head, relation, tail in given.tolist())
    return graph


def _lists(given: Integers) -> dict[int, list[tuple[int, int]]]:
    lists: dict[int, list[tuple[int, int]]] = {}
    for head, relation, tail in dict.fromkeys(map(tuple, given.tolist())):
        lists.setdefault(head, []).append((relation, tail))
    return lists


def _walked(seed: int, hops: int, out: Callable[[int], Iterable[tuple[int, int]]]) -> Triples:
    """Breadth first, by a function that gives what is known about an entity."""
    seen, frontier, found = {seed}, [seed], []
    for hop in range(hops):
        reached = []
        for head in frontier:
            for relation, tail in out(head):
                found.append((head, relation, tail))
                if hop + 1 < hops and tail not in seen:
                    seen.add(tail)
                    reached.append(tail)
        frontier = reached
    return found


def build(seed: int = 0) -> tuple[Case, ...]:
    """Building, and both neighbourhoods."""
    given = triples(seed)
    graph, lists, store = _networkx(given), _lists(given), TripleStore(given, ENTITIES)
    seeds = np.random.default_rng(seed + 1).choice(np.unique(given[:, 0]), SEEDS, replace=False).tolist()
    distinct = float(len(store))
    sizes = {"triples": TRIPLES, "entities": ENTITIES, "relations": RELATIONS, "seeds": SEEDS}

    def outward(head: int) -> Iterable[tuple[int, int]]:
        return ((relation, tail) for _, tail, relation in graph.out_edges(head, keys=True))

    def ours(seed: int, hops: int) -> Integers:
        places = store.around(seed, hops)
        return np.stack([store.heads_of(places), store.relations[places], store.tails[places]], axis=1)

    def check_build() -> dict[str, float]:
        """As many triples in all, and not too many bytes."""
        bytes_each = store.nbytes / distinct
        if graph.number_of_edges() != distinct or sum(map(len, lists.values())) != distinct or bytes_each > 16:
            raise Unequal(f"g13: {graph.number_of_edges()} triples and {distinct}, {bytes_each:.1f} bytes each")
        return {"bytes a triple": bytes_each}

    def near(hops: int) -> Case:
        def check() -> dict[str, float]:
            """The same triples around every seed."""
            for start in seeds:
                truth = sorted(_walked(start, hops, outward))
                if truth != sorted(map(tuple, ours(start, hops).tolist())):
                    raise Unequal(f"g13: {hops} hops of entity {start} reach other triples")
            return {"triples": 0.0}

        work = float(sum(len(store.around(start, hops)) for start in seeds))
        return Case(
            name=f"g13-{hops}hop",
            title=f"all triples within {hops} hops of {SEEDS} entities among a million triples",
            unit="triples",
            work=work,
            variants={
                PEER: lambda: float(sum(len(_walked(start, hops, outward)) for start in seeds)),
                "careful peer": lambda: float(
                    sum(len(_walked(start, hops, lambda head: lists.get(head, ()))) for start in seeds)
                ),
                OURS: lambda: float(sum(len(ours(start, hops)) for start in seeds)),
            },
            check=check,
            sizes=sizes,
        )

    return (
        Case(
            name="g13",
            title="a graph of a million triples from integers",
            unit="triples",
            work=distinct,
            variants={
                PEER: lambda: float(_networkx(given).number_of_edges()),
                "careful peer": lambda: float(sum(map(len, _lists(given).values()))),
                OURS: lambda: float(len(TripleStore(given, ENTITIES))),
            },
            check=check_build,
            sizes=sizes,
        ),
        near(2),
        near(3),
    )
