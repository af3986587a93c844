"""What training sees and what the test asks never meet."""

from collections import Counter

import numpy as np
import pytest

from mm_kptm.errors import UserError
from mm_kptm.random_streams import RandomStream
from mm_kptm.suites.number_world.generator import knowledge, questions
from mm_kptm.suites.number_world.generator.facts import RELATIONS, draw_worlds
from mm_kptm.suites.number_world.generator.scene import COLOURS
from mm_kptm.suites.number_world.generator.splits import SPLITS, held_cells, held_facts, part


@pytest.fixture(scope="module")
def worlds():
    return draw_worlds(RandomStream(0, "facts"))


def _known(split, side, worlds, count=400):
    return knowledge.generate(part(split, side), count, RandomStream(0, split, side), worlds)


def test_the_test_asks_about_cells_that_training_never_showed():
    held = held_cells(100, 1)
    for side in ("train", "dev"):
        scenes, asked = questions.generate(part("comp-20", side), 600, RandomStream(0, side))
        assert not held[scenes.values, scenes.colours].any()
        for question in asked:  # and no question names such a cell
            if question.type == "exists-coloured":
                value = scenes.things(question.scene)[question.subject].value
                for k, colour in enumerate(COLOURS):
                    if held[value, k]:
                        assert question.language != "en" or colour not in question.words
    scenes, asked = questions.generate(part("comp-20", "test"), 600, RandomStream(0, "test"))
    for question in asked:
        thing = scenes.things(question.scene)[question.subject]
        assert held[thing.value, COLOURS.index(thing.colour)]


@pytest.mark.parametrize("numbers", [30, 100])
def test_the_hold_out_is_graded_and_spares_every_number_and_colour(numbers):
    before = np.zeros((numbers, 8), dtype=bool)
    for fifths in (1, 2, 3, 4):
        cells = held_cells(numbers, fifths)
        assert cells.mean() == pytest.approx(fifths / 5)
        assert (cells | ~before).all()
        assert not cells.all(axis=0).any() and not cells.all(axis=1).any()
        before = cells


def test_held_out_facts_are_never_asked_in_training(worlds):
    held = held_facts(100)
    assert held.mean() == pytest.approx(0.2, abs=0.01)
    for side, expected in (("train", False), ("dev", False), ("test", True)):
        for question in _known("fact", side, worlds)[1]:
            assert held[question.number, RELATIONS.index(question.relation)] == expected


def test_worlds_of_the_test_are_new(worlds):
    seen = {side: {question.world for question in _known("world", side, worlds)[1]} for side in SPLITS_SIDES}
    assert seen["train"] <= set(range(64)) and seen["dev"] <= set(range(64, 72)) and seen["test"] == set(range(72, 80))
    assert {question.world for question in _known("iid", "test", worlds)[1]} <= set(range(64))


SPLITS_SIDES = ("train", "dev", "test")


@pytest.mark.parametrize(
    ("split", "seen"),
    [
        ("relation", lambda question, scenes: question.relation),
        ("hop", lambda question, scenes: question.hops),
        ("size", lambda question, scenes: len(scenes.things(question.scene))),
        ("para", lambda question, scenes: question.form),
        ("lang-0", lambda question, scenes: question.language),
        ("lang-pairs", lambda question, scenes: (question.language, question.facts_language)),
        ("joint", lambda question, scenes: (question.language, question.facts_language)),
    ],
)
def test_training_and_test_share_nothing_of_what_is_held_back(split, seen, worlds):
    values = {}
    for side in SPLITS_SIDES:
        scenes, asked = _known(split, side, worlds)
        values[side] = {seen(question, scenes) for question in asked}
    assert values["dev"] == values["train"]
    assert not values["train"] & values["test"] and values["test"]


def test_lang_0_trains_in_english_and_tests_in_all_others(worlds):
    assert {q.language for q in _known("lang-0", "train", worlds)[1]} == {"en"}
    assert {q.language for q in _known("lang-0", "test", worlds)[1]} == {"de", "fr", "es", "zh"}


def test_lowres_has_few_questions_in_other_languages_and_tests_in_them(worlds):
    train, test = (_known("lowres", side, worlds, 2400)[1] for side in ("train", "test"))
    counts = Counter(question.language for question in train)
    assert counts["en"] / len(train) == pytest.approx(20 / 24, abs=0.03)
    for language in ("de", "fr", "es", "zh"):
        assert counts[language] / len(train) == pytest.approx(1 / 24, abs=0.015)
    assert all(question.language == question.facts_language for question in train)
    assert {question.language for question in test} == {"de", "fr", "es", "zh"}


def test_joint_mixes_languages_only_in_the_test(worlds):
    assert all(q.language == q.facts_language for q in _known("joint", "train", worlds)[1])
    assert all(q.language != q.facts_language for q in _known("joint", "test", worlds)[1])


@pytest.mark.parametrize("split", SPLITS)
def test_every_split_can_be_drawn_over_thirty_numbers(split):
    worlds = draw_worlds(RandomStream(0), numbers=30)
    for side in SPLITS_SIDES:
        scenes, asked = questions.generate(part(split, side), 30, RandomStream(1, side), numbers=30)
        assert len(asked) == len(scenes) == 30 and scenes.block == side
        assert len(knowledge.generate(part(split, side), 30, RandomStream(1, side), worlds)[1]) == 30


def test_unknown_names_are_refused():
    with pytest.raises(UserError, match="no split called 'ood'; the splits are iid, comp-20"):
        part("ood", "train")
    with pytest.raises(UserError, match="no side called 'valid'; the sides are train, dev, test"):
        part("iid", "valid")
