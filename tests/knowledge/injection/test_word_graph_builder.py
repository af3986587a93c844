import random
from dataclasses import replace

import pytest

from mm_kptm.errors import UserError
from mm_kptm.knowledge.graph.graph import KnowledgeGraph
from mm_kptm.knowledge.graph.triples import Triple
from mm_kptm.knowledge.injection.word_graph_builder import GraphMaker

FACTS = KnowledgeGraph(
    [Triple("Q1", "P1", "Q2"), Triple("Q1", "P2", "Q3"), Triple("Q2", "P3", "Q1"), Triple("Q1", "P4", "Q1")]
)
MAKER = GraphMaker(
    FACTS.about,
    {"Paris": "Q1", "seine": "Q2"},
    spelling=lambda text: [10 + len(word) for word in text.split()],
    sentences=lambda text: text.split(" . "),
    min_length=1,
    fact_rate=1.0,
)
DOCUMENT = (
    "sepsepsep Paris sepsepsep is by the sepsepsep river sepsepsep . sepsepsep Rome sepsepsep is not"
    "[_end_]Paris[_map_]Paris[_end_]river[_map_]Seine[_end_]Rome[_map_]Roma"
)


def seeded() -> random.Random:
    return random.Random(0)


def test_a_mention_is_one_node_and_facts_stand_behind_it() -> None:
    (graph,) = MAKER(DOCUMENT, seeded())
    assert graph.words == (0, 12, 12, 13, 2) and graph.mentioned == (True, True, False)
    assert graph.entities == ("Q1", "Q2", "Q3") and sorted(graph.relations) == ["P1", "P2", "P3", "P4"]
    assert graph.positions[:5] == (0, 2, 3, 4, 6) and graph.positions[5:8] == (1, 5, 3)
    for relation, (head, tail), position in zip(graph.relations, graph.ties, graph.positions[8:], strict=True):
        assert Triple(graph.entities[head], relation, graph.entities[tail]) in set(FACTS)
        assert position == graph.positions[5 + head] + 1


def test_a_title_is_also_found_in_lower_case_and_an_unknown_one_is_text() -> None:
    assert [graph.entities[:2] for graph in MAKER(DOCUMENT, seeded())] == [("Q1", "Q2")], "Rome has no entity"


def test_an_entity_stands_once_and_its_second_mention_is_text() -> None:
    (graph,) = replace(MAKER, fact_rate=0.0)(
        "sepsepsep Paris sepsepsep x sepsepsep Paris[_end_]Paris[_map_]Paris", seeded()
    )
    assert graph.entities == ("Q1",) and graph.words == (0, 11, 15, 2) and graph.positions == (0, 2, 3, 4, 1)


def test_sentences_are_joined_until_they_are_long_enough() -> None:
    text = "sepsepsep Paris sepsepsep a . b . c d e[_end_]Paris[_map_]Paris"
    short, long = (list(replace(MAKER, min_length=n, fact_rate=0.0)(text, seeded())) for n in (1, 7))
    assert [len(graph.words) for graph in short] == [3], "later sentences mention nothing"
    assert [len(graph.words) for graph in long] == [4]


def test_text_between_anchors_is_cut_and_large_graphs_are_left_out() -> None:
    (graph,) = replace(MAKER, max_words=2)(DOCUMENT, seeded())
    assert graph.words == (0, 12, 12, 2)
    assert list(replace(MAKER, max_nodes=11)(DOCUMENT, seeded())) == []
    assert len(list(replace(MAKER, max_nodes=12)(DOCUMENT, seeded()))) == 1


def test_an_entity_brings_its_facts_by_chance_and_no_more_than_told() -> None:
    (graph,) = replace(MAKER, max_facts=1)(DOCUMENT, seeded())
    assert len(graph.relations) == 2
    maker, rng = replace(MAKER, fact_rate=0.5), random.Random(1)
    told = sum("P3" in graph.relations for _ in range(400) for graph in maker(DOCUMENT, rng))
    assert 150 < told < 250


def test_the_same_seed_makes_the_same_graphs() -> None:
    first, second = (list(replace(MAKER)(DOCUMENT, seeded())) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("changed", [{"fact_rate": 1.5}, {"max_facts": -1}])
def test_settings_out_of_range_are_refused(changed: dict[str, float]) -> None:
    with pytest.raises(
        UserError,
        match=r"^max_facts is -?\d+ and fact_rate is .*; max_facts must be at least 0 and fact_rate between 0 and 1$",
    ):
        replace(MAKER, **changed)
