"""Blanks in Number World's statements: the answer follows the facts told, and names alone tell nothing of it."""

import pytest

from mm_kptm.data.sampler import seeded
from mm_kptm.errors import UserError
from mm_kptm.random_streams import RandomStream
from mm_kptm.suites.number_world.datasets import sources as number_world
from mm_kptm.suites.number_world.datasets.cloze import candidates, source
from mm_kptm.suites.number_world.generator.blanks import blanks, inform
from mm_kptm.suites.number_world.generator.facts import RANGES
from mm_kptm.suites.number_world.generator.language import vocabulary
from mm_kptm.suites.number_world.generator.splits import part


@pytest.fixture(scope="module")
def asked(worlds):
    return blanks(part("world", "train"), 40, RandomStream(1), worlds)


def test_the_object_of_a_fact_is_left_open(asked, worlds):
    for one in asked:
        assert one.relation in RANGES and one.sentence.words[one.blank] == one.answer == one.true_answer
        assert one.subject != one.blank
        assert len(one.injected) == 2 and one.answer in [object_ for _, object_ in one.injected]
    assert {tuple(one.shown).index(one.relation) for one in asked} == {0, 1}  # its place tells nothing


def test_arms_differ_in_what_is_told(asked, worlds):
    swapped = inform(asked, "swapped", worlds, RandomStream(2))
    assert all(one.answer != one.true_answer == true.answer for one, true in zip(swapped, asked, strict=True))
    assert all(one.answer in [object_ for _, object_ in one.injected] for one in swapped)
    assert [one.injected for one in inform(asked, "none", worlds, RandomStream(2))] == [()] * len(asked)
    assert [len(one.injected) for one in inform(asked, "oracle", worlds, RandomStream(2))] == [1] * len(asked)
    random = inform(asked, "random", worlds, RandomStream(2))
    assert all(one.answer == true.answer for one, true in zip(random, asked, strict=True))
    hits = sum(one.answer in [object_ for _, object_ in one.injected] for one in random)
    assert hits < len(asked) / 2
    assert inform(asked, "swapped", worlds, RandomStream(2)) == swapped
    with pytest.raises(UserError, match=r"there are no facts called 'most' to inject"):
        inform(asked, "most", worlds, RandomStream(2))


def test_facts_hang_on_the_name_of_the_number(asked):
    choices = candidates(("en", "de", "fr", "es", "zh"))
    batch = source(asked[:4], choices).batch(range(4), seeded(0))
    text, known = batch.inputs.text, vocabulary().words
    assert text.ids[batch.rows].tolist() == [number_world.specials().mask] * 4
    assert [choices.words[place] for place in batch.truth.tolist()] == [one.answer for one in asked[:4]]
    first = next(text.layout.split(text.ids)).tolist()
    fact = first.index(vocabulary().ids[asked[0].injected[0][0]])
    assert known[first[fact - 1]] == asked[0].sentence.words[asked[0].subject]


def test_a_relation_that_never_changes_is_not_asked(worlds):
    from dataclasses import replace

    lasting = replace(part("world", "train"), relations=("parity",))
    with pytest.raises(UserError, match=r"a blank was asked for the relation 'parity', but only these are: owner"):
        blanks(lasting, 4, RandomStream(1), worlds)
