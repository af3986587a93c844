"""Questions that need a fact, and what is injected for them."""

from dataclasses import replace

import pytest

from mm_kptm.errors import UserError
from mm_kptm.random_streams import RandomStream
from mm_kptm.suites.number_world.generator.facts import RANGES, RELATIONS, draw_fixed, draw_worlds
from mm_kptm.suites.number_world.generator.knowledge import ARMS, generate, inject, injected_objects
from mm_kptm.suites.number_world.generator.language import BREAK, vocabulary, words
from mm_kptm.suites.number_world.generator.lexicon import RELATION_WORDS, surface
from mm_kptm.suites.number_world.generator.numerals import name
from mm_kptm.suites.number_world.generator.splits import part


@pytest.fixture(scope="module")
def worlds():
    return draw_worlds(RandomStream(0, "facts"))


@pytest.fixture(scope="module")
def asked(worlds):
    return generate(part("world", "test"), 800, RandomStream(0, "questions"), worlds)


def _told(question):
    """The objects that hang on each name, by name and relation word."""
    return {(question.words[branch.anchor], branch.words[0]): branch.words[1] for branch in question.branches}


def _needed(question):
    language = question.facts_language
    (head,) = words(RELATION_WORDS[language][question.relation], language)
    return name(question.number, language).lower(), head


def test_the_answer_is_told_on_the_name_of_the_number_meant(asked, worlds):
    scenes, questions = asked
    for question in questions:
        thing = scenes.things(question.scene)[question.subject]
        assert thing.value == question.number
        assert question.answer.label == worlds[question.world].object(thing.value, question.relation)
        assert _told(question)[_needed(question)] == surface(question.answer.label, question.facts_language).lower()


def test_the_question_does_not_name_the_number(asked):
    for question in asked[1]:
        sentence = question.words[: question.words.index(BREAK)]
        assert name(question.number, question.language).lower() not in sentence or question.number in (1, 3)


def test_the_names_are_those_of_the_scene_in_an_order_that_tells_nothing(asked):
    scenes, questions = asked
    places = []
    for question in questions:
        assert set(question.candidates) == {thing.value for thing in scenes.things(question.scene)}
        names = question.words[question.words.index(BREAK) + 1 :]
        assert names == tuple(name(number, question.facts_language).lower() for number in question.candidates)
        places.append(question.candidates.index(question.number) / (len(question.candidates) - 1))
    assert 0.45 < sum(places) / len(places) < 0.55


def test_every_name_carries_the_same_relations(asked):
    for question in asked[1]:
        carried = {}
        for branch in question.branches:
            carried.setdefault(branch.anchor, []).append(branch.words[0])
        assert len(carried) == len(question.candidates)
        assert len({tuple(relations) for relations in carried.values()}) == 1
        assert all(len(relations) == 2 for relations in carried.values())


def test_swapped_facts_are_of_another_world_and_so_is_the_answer(asked, worlds):
    questions = asked[1]
    for old, new in zip(questions, inject(questions, "swapped", worlds, RandomStream(1)), strict=True):
        assert new.answer.label != old.answer.label == new.true_answer.label
        assert new.answer.label == worlds[new.injected_world].object(new.number, new.relation)
        assert _told(new)[_needed(new)] == surface(new.answer.label, new.facts_language).lower()
        assert new.words == old.words and new.injected_world in range(72, 80)


def test_arms_can_be_undone(asked, worlds):
    questions = asked[1]
    swapped = inject(questions, "swapped", worlds, RandomStream(1))
    assert inject(swapped, "true", worlds, RandomStream(2)) == questions


def test_the_oracle_tells_one_fact_and_none_tells_none(asked, worlds):
    for question in inject(asked[1], "oracle", worlds, RandomStream(1)):
        assert list(_told(question)) == [_needed(question)]
    assert all(not question.branches for question in inject(asked[1], "none", worlds, RandomStream(1)))


def test_random_facts_agree_with_the_true_ones_by_chance(asked, worlds):
    pairs = list(zip(asked[1], inject(asked[1], "random", worlds, RandomStream(1)), strict=True))
    assert all(old.answer == new.answer for old, new in pairs)
    agree = sum(_told(old)[_needed(old)] == _told(new)[_needed(new)] for old, new in pairs)
    assert agree / len(pairs) < 0.16


def test_two_hops_lead_over_the_successor(worlds):
    scenes, questions = generate(part("hop", "test"), 300, RandomStream(3), worlds)
    for question in questions:
        seen = scenes.things(question.scene)[question.subject].value
        told, language = _told(question), question.facts_language
        (after,) = words(RELATION_WORDS[language]["successor"], language)
        step = told[name(seen, language).lower(), after]
        assert step == name(seen + 1, language).lower() and question.number == seen + 1
        assert told[step, _needed(question)[1]] == surface(question.answer.label, language).lower()
    for question in inject(questions, "oracle", worlds, RandomStream(0)):
        assert len(question.branches) == 2


@pytest.mark.parametrize("arm", sorted(set(ARMS) - {"swapped"}))
def test_every_relation_can_be_asked_in_known_words(worlds, arm):
    everything = replace(part("joint", "test"), relations=RELATIONS)
    _, questions = generate(everything, 600, RandomStream(4), worlds, relations_shown=RELATIONS, facts_per_number=9)
    for question in inject(questions, arm, worlds, RandomStream(5)):
        assert question.language != question.facts_language
        assert 1 not in vocabulary().encode(question.words)
        assert all(1 not in vocabulary().encode(branch.words) for branch in question.branches)
    assert {question.relation for question in questions} == set(RELATIONS)
    assert {question.family for question in questions} == {"computable", "lookup", "arbitrary"}


def test_distractors_are_named_and_told_about(worlds):
    _, plain = generate(part("iid", "train"), 100, RandomStream(6), worlds)
    _, crowded = generate(part("iid", "train"), 100, RandomStream(6), worlds, distractors=3)
    assert sum(len(q.candidates) for q in crowded) > sum(len(q.candidates) for q in plain) + 200


def test_injected_objects_are_those_of_the_asked_relation(asked):
    for question in asked[1]:
        objects = injected_objects(question)
        assert len(objects) == len(question.candidates)
        assert objects[question.candidates.index(question.number)] == _told(question)[_needed(question)]


def test_a_fixed_graph_tells_train_and_test_the_same():
    fixed = draw_fixed(RandomStream(0, "facts"), numbers=30)
    facts = {}
    for side in ("train", "test"):
        for question in generate(part("iid", side), 300, RandomStream(7, side), fixed)[1]:
            key = question.number, question.relation
            assert facts.setdefault(key, question.answer.label) == question.answer.label


def test_what_cannot_be_asked_is_refused(worlds):
    with pytest.raises(UserError, match="no facts called 'wrong' to inject; there are none, random, swapped"):
        inject((), "wrong", worlds, RandomStream(0))
    with pytest.raises(UserError, match="'prime' was asked over two hops, but only these are: owner, guild, home"):
        generate(replace(part("hop", "test"), relations=("prime",)), 3, RandomStream(0), worlds)
    with pytest.raises(UserError, match="the split 'fact' holds back facts, which are asked over one hop"):
        generate(replace(part("fact", "test"), hops=(2,)), 3, RandomStream(0), worlds)
    prime = replace(part("iid", "train"), relations=("prime",))
    _, questions = generate(prime, 3, RandomStream(0), worlds)
    with pytest.raises(UserError, match="'prime', but it is the same in every world"):
        inject(questions, "swapped", worlds, RandomStream(0))
    assert set(RANGES) == {"owner", "guild", "home"}
