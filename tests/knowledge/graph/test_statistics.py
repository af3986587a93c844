import networkx as nx
import numpy as np
import pytest

from mm_kptm.knowledge.graph import statistics
from mm_kptm.knowledge.graph.graph import KnowledgeGraph, NameIndex
from mm_kptm.knowledge.graph.statistics import components, summarise
from mm_kptm.knowledge.graph.triple_store import TripleStore


@pytest.mark.parametrize("together", [7, 1000])
@pytest.mark.parametrize("triples", [5, 60, 150])
def test_parts_are_those_of_networkx(triples: int, together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "_TOGETHER", together)
    generator = np.random.default_rng(triples)
    drawn = np.stack([generator.integers(0, high, triples) for high in (100, 3, 100)], axis=1)
    graph = nx.Graph()
    graph.add_nodes_from(range(100))
    graph.add_edges_from(drawn[:, [0, 2]].tolist())
    found = components(TripleStore(drawn, 100))
    numbers = [{int(number) for number in found[list(part)]} for part in nx.connected_components(graph)]
    assert all(len(part) == 1 for part in numbers)
    assert set().union(*numbers) == set(range(len(numbers)))


def test_a_long_path_and_a_circle_are_one_part_each() -> None:
    path = np.array([[i, 0, i + 1] for i in range(999)])
    assert set(components(TripleStore(path[::-1], 1000)).tolist()) == {0}
    assert set(components(TripleStore([[0, 0, 1], [1, 0, 2], [2, 0, 0]], 3)).tolist()) == {0}


def test_a_graph_in_numbers() -> None:
    words = NameIndex({"de": {"cat": ("Katze",)}, "en": {"cat": ("cat",), "dog": ("dog",)}}, {"en": {"cat": "a pet"}})
    triples = [("cat", "is", "pet"), ("dog", "is", "pet"), ("cat", "eats", "mouse"), ("sun", "heats", "sun")]
    found = summarise(KnowledgeGraph(triples, words, entities=["moon"]))
    assert (found.triples, found.entities, found.components, found.largest_component) == (4, 6, 3, 4)
    assert list(found.relations.items()) == [("is", 2), ("eats", 1), ("heats", 1)]
    assert (found.highest_degree, found.best_known, found.mean_degree) == (2, "cat", 8 / 6)
    assert (found.named, found.described) == ({"de": 1, "en": 2}, {"en": 1})
