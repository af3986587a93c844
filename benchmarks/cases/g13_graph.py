"""G13: a graph of a million triples: building it, and all triples within one, two and three hops of 64 entities.

The peer is networkx; the careful peer a dictionary of lists. All get the same integers, count repeated triples once,
and answer with the triples themselves: the peers as tuples, ours as three columns. No peer looks for a frontier behind
the last hop. "Ours ranges" stops before the columns are written, at the entities whose triples these are and how many;
"ours one by one" makes a call for each seed. An entity that many triples end at is also one that many begin at. The
graph is built of strings, too, read from a file of lines: the same work for all, from the file on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import networkx as nx
import numpy as np

from benchmarks.harness import OURS, PEER, Case, Unequal
from mm_kptm.knowledge.graph.graph import KnowledgeGraph
from mm_kptm.knowledge.graph.triple_store import Around, Integers, TripleStore

TRIPLES, ENTITIES, RELATIONS, SEEDS, TAIL = 1_000_000, 100_000, 50, 64, 0.6
VERSIONS = {"networkx": nx.__version__, "numpy": np.__version__}
Name = int | str
Triples = list[tuple[int, int, int]]


def triples(seed: int) -> Integers:
    """A few entities are in very many triples, most in a few."""
    generator = np.random.default_rng(seed)
    weight = np.arange(1, ENTITIES + 1) ** -TAIL
    names = generator.permutation(ENTITIES)
    ends = [names[generator.choice(ENTITIES, TRIPLES, p=weight / weight.sum())] for _ in "ht"]
    return np.stack([ends[0], generator.integers(0, RELATIONS, TRIPLES), ends[1]], axis=1)


def _networkx(given: Iterable[Sequence[Name]]) -> nx.MultiDiGraph:
    graph = nx.MultiDiGraph()
    graph.add_edges_from((head, tail, relation) for head, relation, tail in given)
    return graph


def _lists(given: Iterable[Sequence[Name]]) -> dict[Name, list[tuple[Name, ...]]]:
    lists: dict[Name, list[tuple[Name, ...]]] = {}
    for head, relation, tail in dict.fromkeys(map(tuple, given)):
        lists.setdefault(head, []).append((relation, tail))
    return lists


def _lines(path: Path) -> Iterator[list[str]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield line.rstrip("\n").split("\t")


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


def _columns(around: Around) -> int:
    """How many triples there are once they are written out."""
    return min(len(around.heads), len(around.relations), len(around.tails))


def build(seed: int = 0) -> tuple[Case, ...]:
    """Building of integers and of strings, and the neighbourhoods."""
    given = triples(seed)
    graph, lists, store = _networkx(given.tolist()), _lists(given.tolist()), TripleStore(given, ENTITIES)
    seeds = np.random.default_rng(seed + 1).choice(np.unique(given[:, 0]), SEEDS, replace=False).tolist()
    distinct = float(len(store))
    sizes = {"triples": TRIPLES, "entities": ENTITIES, "relations": RELATIONS, "seeds": SEEDS}
    folder = TemporaryDirectory(prefix="g13-")

    def file() -> Path:
        return Path(folder.name) / "triples.tsv"  # the folder stays as long as somebody may ask

    file().write_text("".join(f"Q{head}\tP{relation}\tQ{tail}\n" for head, relation, tail in given.tolist()))

    def outward(head: int) -> Iterable[tuple[int, int]]:
        return ((relation, tail) for _, tail, relation in graph.out_edges(head, keys=True))

    def check_build() -> dict[str, float]:
        """As many triples in all, and not too many bytes."""
        bytes_each = store.nbytes / distinct
        if graph.number_of_edges() != distinct or sum(map(len, lists.values())) != distinct or bytes_each > 8:
            raise Unequal(f"g13: {graph.number_of_edges()} triples and {distinct}, {bytes_each:.1f} bytes each")
        return {"bytes a triple": bytes_each}

    def check_names() -> dict[str, float]:
        """The same triples by name as by number."""
        named = KnowledgeGraph.open(file())
        if {*named} != {(f"Q{h}", f"P{r}", f"Q{t}") for h, ways in lists.items() for r, t in ways}:
            raise Unequal("g13: the file holds other triples")
        return {"triples": 0.0}

    def near(hops: int) -> Case:
        def check() -> dict[str, float]:
            """The same triples around every seed, seed by seed and all together."""
            together = iter(store.around_each(seeds, hops).triples.tolist())
            for start in seeds:
                truth = sorted(_walked(start, hops, outward))
                alone = store.around(start, hops).triples.tolist()
                if truth != sorted(map(tuple, alone)) or alone != [next(together) for _ in alone]:
                    raise Unequal(f"g13: {hops} hops of entity {start} reach other triples")
            return {"triples": 0.0}

        def walked(out: Callable[[int], Iterable[tuple[int, int]]]) -> Callable[[], float]:
            return lambda: float(sum(len(_walked(start, hops, out)) for start in seeds))

        return Case(
            name=f"g13-{hops}hop",
            title=f"all triples within {hops} hops of {SEEDS} entities among a million triples",
            unit="triples",
            work=float(len(store.around_each(seeds, hops))),
            variants={
                PEER: walked(outward),
                "careful peer": walked(lambda head: lists.get(head, ())),
                OURS: lambda: float(_columns(store.around_each(seeds, hops))),
                "ours ranges": lambda: float(len(store.around_each(seeds, hops))),
                "ours one by one": lambda: float(sum(_columns(store.around(start, hops)) for start in seeds)),
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
                PEER: lambda: float(_networkx(given.tolist()).number_of_edges()),
                "careful peer": lambda: float(sum(map(len, _lists(given.tolist()).values()))),
                OURS: lambda: float(len(TripleStore(given, ENTITIES))),
            },
            check=check_build,
            sizes=sizes,
        ),
        Case(
            name="g13-names",
            title="a graph of a million triples from a file of names",
            unit="triples",
            work=distinct,
            variants={
                PEER: lambda: float(_networkx(_lines(file())).number_of_edges()),
                "careful peer": lambda: float(sum(map(len, _lists(_lines(file())).values()))),
                OURS: lambda: float(len(KnowledgeGraph.open(file()))),
            },
            check=check_names,
            sizes=sizes,
        ),
        *map(near, (1, 2, 3)),
    )
