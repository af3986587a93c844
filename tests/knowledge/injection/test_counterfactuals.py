"""Facts that are not true, made from a graph: what is exchanged, and what stays as it was."""

from collections import Counter

import pytest

from mm_kptm.knowledge.graph.graph import KnowledgeGraph
from mm_kptm.knowledge.graph.triples import Triple
from mm_kptm.knowledge.injection.counterfactuals import objects_of, random_facts, swapped, swapped_facts
from mm_kptm.random_streams import RandomStream

TOWNS = ("Rome", "Oslo", "Lima")
BORN = [Triple(f"p{n}", "born in", TOWNS[n % 3]) for n in range(9)]
MANY = [Triple(f"p{n}", "is", "person") for n in range(7)] + [Triple("r", "is", "robot"), Triple("d", "is", "dog")]
TWICE = [
    Triple("a", "eats", "fish"),
    Triple("a", "eats", "meat"),
    Triple("b", "eats", "hay"),
    Triple("c", "eats", "oats"),
]


@pytest.mark.parametrize("seed", range(5))
def test_objects_change_places_within_their_relation(seed):
    true, told = KnowledgeGraph(BORN), swapped(KnowledgeGraph(BORN), RandomStream(seed))
    assert [fact[:2] for fact in told] == [fact[:2] for fact in true]
    assert Counter(fact.tail for fact in told) == Counter(fact.tail for fact in true)
    assert not set(told) & set(true)


@pytest.mark.parametrize("facts", [MANY, TWICE])
def test_no_fact_stays_true_where_most_share_an_object_or_a_name_has_several(facts):
    for seed in range(5):
        told = swapped(KnowledgeGraph(facts), RandomStream(seed))
        assert not set(told) & set(facts)
        assert {fact.tail for fact in told} <= {fact.tail for fact in facts}


def test_a_relation_with_one_object_cannot_be_swapped():
    assert list(swapped(KnowledgeGraph(MANY[:7]), RandomStream(0))) == MANY[:7]


def test_the_seed_decides_who_is_told_what():
    graph = KnowledgeGraph([Triple(f"p{n}", "born in", f"t{n}") for n in range(20)])
    assert list(swapped(graph, RandomStream(1))) == list(swapped(graph, RandomStream(1)))
    assert list(swapped(graph, RandomStream(1))) != list(swapped(graph, RandomStream(2)))


def test_random_facts_draw_from_the_objects_of_their_relation():
    assert objects_of(KnowledgeGraph(BORN + MANY)) == {"born in": TOWNS, "is": ("person", "robot", "dog")}


@pytest.mark.parametrize("seed", range(5))
def test_controls_have_the_shape_of_the_truth(seed):
    """Every name keeps its relations and the number of its facts, so that these cannot tell an arm or an answer."""
    facts = [Triple(f"p{n}", "knows", f"q{(n * k) % 5}") for n in range(6) for k in (1, 2, 3)] + BORN
    facts = list(dict.fromkeys(facts))
    others = swapped_facts(facts, RandomStream(seed))
    assert [fact[:2] for fact in others] == [fact[:2] for fact in facts]
    objects = objects_of(KnowledgeGraph(facts))
    for head in {fact.head for fact in facts}:
        true = [fact for fact in facts if fact.head == head]
        drawn = random_facts(true, objects, RandomStream(seed))
        assert [fact[:2] for fact in drawn] == [fact[:2] for fact in true]
        assert len(set(drawn)) == len(true)  # none twice
        told = [fact for fact in others if fact.head == head]
        room = min(
            len([one for one in objects[key] if one not in {f.tail for f in true}])
            for key in {f.relation for f in true}
        )
        assert len(set(told)) >= min(len(true), room)


def test_swapping_keeps_entities_and_words():
    graph = KnowledgeGraph(BORN, entities=["alone"])
    assert swapped(graph, RandomStream(0)).entities[-1] == "alone"
