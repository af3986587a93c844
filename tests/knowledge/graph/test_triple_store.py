import gc
import tracemalloc

import networkx as nx
import numpy as np
import pytest

from mm_kptm.errors import UserError
from mm_kptm.knowledge.graph import triple_store
from mm_kptm.knowledge.graph.triple_store import OrderedStore, TripleStore


def drawn(triples: int, entities: int) -> np.ndarray:
    generator = np.random.default_rng(0)
    return np.stack([generator.integers(0, high, triples) for high in (entities, 5, entities)], axis=1)


def test_look_up_is_that_of_a_dictionary_in_the_order_of_coming() -> None:
    triples = drawn(2000, 30)  # so that many are repeated
    store, straight = OrderedStore(triples, 31), dict[int, list[tuple[int, int]]]()
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


@pytest.mark.parametrize("count", [150, 2500])
@pytest.mark.parametrize("hops", [1, 2, 3])
def test_neighbourhoods_are_those_of_networkx(hops: int, count: int) -> None:
    triples = drawn(count, 60)
    store, graph = TripleStore(triples, 60), nx.MultiDiGraph()
    graph.add_nodes_from(range(60))
    graph.add_edges_from((h, t, r) for h, r, t in triples.tolist())
    for seed in range(60):
        near = nx.single_source_shortest_path_length(graph, seed, cutoff=hops - 1)
        expected = {(h, r, t) for h, t, r in graph.out_edges(list(near), keys=True)}
        around = store.around(seed, hops)
        found = list(map(tuple, around.triples.tolist()))
        assert set(found) == expected
        assert len(found) == len(expected) == len(around)
        assert [near[head] for head, _, _ in found] == sorted(near[head] for head, _, _ in found)


@pytest.mark.parametrize("entities", [60, 3000])  # more reached than not, and few of many
@pytest.mark.parametrize("hops", [1, 2, 3, 4])
def test_neighbourhoods_together_are_those_one_by_one(hops: int, entities: int) -> None:
    store = TripleStore(drawn(2500, entities), entities)
    seeds = [5, 7, 5, *range(entities - 1, 0, -20)]  # the same one twice, and more than grow together
    together, alone = store.around_each(seeds, hops), [store.around(seed, hops) for seed in seeds]
    assert len(seeds) > 3 and together.sizes.tolist() == [len(one) for one in alone]
    assert together.triples.tolist() == np.concatenate([one.triples for one in alone]).tolist()
    assert together.entities.tolist() == np.concatenate([one.entities for one in alone]).tolist()
    assert (store.heads_of(together.places) == together.heads).all()


def test_no_seed_has_no_neighbours() -> None:
    store = TripleStore(drawn(20, 5), 5)
    for hops in (1, 2):
        around = store.around_each([], hops)
        assert len(around) == 0 and around.triples.shape == (0, 3) and around.sizes.tolist() == []


@pytest.mark.parametrize("piece", [7, 1 << 18])  # repeated within a piece, and across pieces
def test_numbers_too_large_to_stand_beside_their_place_are_sorted_too(
    piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys of 63 bits leave no room for places."""
    triples = drawn(2000, 30) * np.array([1, 2**50, 1])
    small = OrderedStore(drawn(2000, 30), 30)
    monkeypatch.setattr(triple_store, "_PIECE", piece)
    large = OrderedStore(triples, 30)
    assert len(large) < 2000
    assert (large.relations == small.relations.astype(np.int64) * 2**50).all()
    for name in ("starts", "tails", "came"):
        assert (getattr(large, name) == getattr(small, name)).all()
    alone = np.unique(triples, axis=0)  # none of which comes again
    assert OrderedStore(alone, 30).came.tolist() == [*range(len(alone))]


def test_numbers_too_large_to_stand_beside_their_place_cost_no_more_memory() -> None:
    """Places sorted by their keys would take 24 bytes more for each triple."""
    count = 100_000
    triples = drawn(count, 2**10) * np.array([1, 2**36, 1])
    gc.collect()
    tracemalloc.start()
    try:
        OrderedStore(triples, 2**10)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 32 * count


def test_lists_and_narrow_numbers_make_the_same_store() -> None:
    triples = drawn(50, 9)
    for given in (triples.tolist(), triples.astype(np.uint8), np.asfortranarray(triples)):
        store = TripleStore(given, 9)
        assert (store.tails == TripleStore(triples, 9).tails).all()


def test_turned_round_twice_is_the_same_set() -> None:
    store = TripleStore(drawn(100, 20), 20)
    backwards = store.reversed()
    for tail in range(20):
        found = backwards.about(tail)
        expected = store.heads_of(np.flatnonzero(store.tails == tail))
        assert sorted(backwards.tails[found].tolist()) == sorted(expected.tolist())


def test_a_triple_takes_five_bytes_and_its_order_four_more() -> None:
    triples = drawn(50_000, 70_000)
    store, ordered = TripleStore(triples, 70_000), OrderedStore(triples, 70_000)
    assert store.nbytes == (4 + 1) * len(store) + 4 * 70_001
    assert ordered.nbytes == store.nbytes + 4 * len(store)


def test_nothing_is_a_graph_too() -> None:
    store = TripleStore(np.empty((0, 3), dtype=np.int64), 2)
    assert len(store) == 0
    assert store.around(1, 3).triples.tolist() == []


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
    with pytest.raises(UserError, match="there is no entity -1; they are numbered 0 to 1"):
        store.around_each([0, -1], 2)
    with pytest.raises(UserError, match=r"triples are whole numbers, three a row, not float64 \[1, 3\]"):
        TripleStore(np.array([[0, 0.5, 1]]), 2)
    with pytest.raises(UserError, match=r"triples are whole numbers, three a row, not int64 \[3, 2\]"):
        TripleStore(np.zeros((3, 2), dtype=np.int64), 2)
