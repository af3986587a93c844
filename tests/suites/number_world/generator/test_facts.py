"""The graph, its worlds, and link prediction on it."""

from collections import Counter

import pytest

from mm_kptm.errors import UserError
from mm_kptm.random_streams import RandomStream
from mm_kptm.suites.number_world.generator.facts import FAMILIES, RANGES, RELATIONS, draw_fixed, draw_worlds, substitute
from mm_kptm.suites.number_world.generator.links import links


@pytest.fixture(scope="module")
def worlds():
    return draw_worlds(RandomStream(0, "facts"))


def test_arithmetic_is_the_same_in_every_world(worlds):
    for world in (worlds[0], worlds[79]):
        assert [n for n in range(30) if world.object(n, "prime") == "yes"] == [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]
        assert [n for n in range(100) if world.object(n, "square") == "yes"] == [k * k for k in range(10)]
        assert world.object(27, "successor") == "number:28" and world.object(99, "successor") is None
        assert world.object(49, "roman") == "roman:XLIX" and world.object(0, "roman") is None
        assert world.object(27, "multiple") == "yes" and world.object(28, "parity") == "parity:even"


def test_worlds_are_shared_out(worlds):
    assert [len(worlds.of(side)) for side in ("train", "dev", "test")] == [64, 8, 8]
    assert len({world.id for side in ("train", "dev", "test") for world in worlds.of(side)}) == 80


def test_arbitrary_facts_differ_from_world_to_world_by_chance(worlds):
    """Two worlds agree on an owner as often as two independent draws would."""
    for relation, objects in RANGES.items():
        agree = [
            worlds[a].object(n, relation) == worlds[b].object(n, relation)
            for a in range(12)
            for b in range(a)
            for n in range(100)
        ]
        assert abs(sum(agree) / len(agree) - 1 / len(objects)) < 0.02


def test_no_object_is_more_frequent_than_another(worlds):
    counts = Counter(worlds[5].objects["owner"])
    assert max(counts.values()) - min(counts.values()) <= 1 and len(counts) == 16


def test_a_substitute_says_something_else_on_the_same_side(worlds):
    draw = RandomStream(1)
    for id, side in ((3, "train"), (70, "dev"), (75, "test")):
        other = substitute(worlds, id, 27, "owner", draw)
        assert other.object(27, "owner") != worlds[id].object(27, "owner")
        assert other.id in {world.id for world in worlds.of(side)}


def test_a_fixed_graph_is_the_same_for_all_and_can_still_be_swapped():
    fixed = draw_fixed(RandomStream(0, "facts"), numbers=30)
    assert fixed.of("train") == fixed.of("test") and fixed.fixed
    assert substitute(fixed, 0, 12, "home", RandomStream(0)).object(12, "home") != fixed[0].object(12, "home")


def test_facts_that_never_change_are_not_swapped(worlds):
    with pytest.raises(UserError, match=r"'prime', but it is the same in every world; .*: owner, guild, home"):
        substitute(worlds, 0, 7, "prime", RandomStream(0))


def test_links_hold_back_a_fifth_and_lose_nothing(worlds):
    graph = links(worlds[0])
    parts = [{tuple(row) for row in rows.tolist()} for rows in (graph.train, graph.dev, graph.test)]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
    everything = set.union(*parts)
    named = {(graph.entities[h], graph.relations[r], graph.entities[t]) for h, r, t in everything}
    assert named == set(worlds[0].triples())
    assert 0.15 < (len(parts[1]) + len(parts[2])) / len(everything) < 0.25
    assert set(graph.families) == set(FAMILIES) and graph.relations == RELATIONS
