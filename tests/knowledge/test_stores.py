import networkx as nx
import numpy as np
import pytest

from mm_kptm.errors import UserError
from mm_kptm.knowledge.stores import TripleStore


def drawn(triples: int, entities: int) -> np.ndarray:
    generator = np.random.default_rng(0)
    return np.stack([generator.integers(0, high, triples) for high in (entities, 5, entities)], axis=1)


def test_look_up_is_that_of_a_dictionary_in_the_order_of_coming() -> None:
    triples = drawn(2000, 30)  # so that many are repeated
    store, straight = TripleStore(triples, 31), dict[int, list[tuple[int, int]]]()
    for head, relation, tail in dict.fromkeys(map(tuple, triples.tolist())):
        straight.setdefault(head, []).append((relation, tail))
    assert len(store) == sum(map(len, straight.values())) < 2000
    for head in range(31):
        found = store.about(head)
        pairs = list(zip(store.relations[found].tolist(), store.tails[found].tolist(), strict=True))
        assert pairs == straight.get(head, [])
    places = np.arange(len(store))
    rebuilt = np.stack([store.heads_of(places), store.relations, store.tails], axis=1)
    assert (rebuilt == triples[store.came]).all()


@pytest.mark.parametrize("hops", [1, 2, 3])
def test_neighbourhoods_are_those_of_networkx(hops: int) -> None:
    triples = drawn(150, 60)
    store, graph = TripleStore(triples, 60), nx.MultiDiGraph()
    graph.add_nodes_from(range(60))
    graph.add_edges_from((h, t, r) for h, r, t in triples.tolist())
    for seed in range(60):
        near = nx.single_source_shortest_path_length(graph, seed, cutoff=hops - 1)
        expected = {(h, r, t) for h, t, r in graph.out_edges(list(near), keys=True)}
        places = store.around(seed, hops)
        columns = (store.heads_of(places), store.relations[places], store.tails[places])
        found = list(zip(*(column.tolist() for column in columns), strict=True))
        assert set(found) == expected
        assert len(found) == len(expected)
        assert [near[head] for head, _, _ in found] == sorted(near[head] for head, _, _ in found)


def test_turned_round_twice_is_the_same_set() -> None:
    store = TripleStore(drawn(100, 20), 20)
    backwards = store.reversed()
    for tail in range(20):
        found = backwards.about(tail)
        expected = store.heads_of(np.flatnonzero(store.tails == tail))
        assert sorted(backwards.tails[found].tolist()) == sorted(expected.tolist())


def test_a_triple_takes_ten_bytes() -> None:
    store = TripleStore(drawn(50_000, 70_000), 70_000)
    assert store.nbytes <= (4 + 1 + 4) * len(store) + 4 * 70_001


def test_nothing_is_a_graph_too() -> None:
    store = TripleStore(np.empty((0, 3), dtype=np.int64), 2)
    assert len(store) == 0
    assert store.around(1, 3).tolist() == []


def test_a_circle_ends() -> None:
    assert len(TripleStore(np.array([[0, 0, 1], [1, 0, 0], [1, 1, 1]]), 2).around(0, 9)) == 3


def test_numbers_outside_are_named() -> None:
    with pytest.raises(UserError, match="numbers of entities and relations count from 0, but -1 is among them"):
        TripleStore(np.array([[0, -1, 1]]), 2)
    with pytest.raises(UserError, match="a triple is about entity 2, but there are 2, numbered from 0"):
        TripleStore(np.array([[0, 0, 2]]), 2)
    with pytest.raises(UserError, match="more than 64 bits number; split the graph"):
        TripleStore(np.array([[0, 2**30, 1]]), 2**32)
    store = TripleStore(np.array([[0, 0, 1]]), 2)
    with pytest.raises(UserError, match="there is no entity 2; they are numbered 0 to 1"):
        store.around(2, 1)
    with pytest.raises(UserError, match="neighbours are one hop away at least, not 0"):
        store.around(0, 0)
