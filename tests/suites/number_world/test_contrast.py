"""Number World for two towers: captions that name owners, and the facts that say what these own."""

from __future__ import annotations

import pytest

from mm_kptm.errors import UserError
from mm_kptm.random_streams import RandomStream
from mm_kptm.suites.number_world.datasets.owner_captions import owner_captions
from mm_kptm.suites.number_world.generator.facts import draw_worlds
from mm_kptm.suites.number_world.generator.lexicon import surface
from mm_kptm.suites.number_world.generator.numerals import LANGUAGES, name
from mm_kptm.suites.number_world.generator.splits import part

WORLDS = draw_worlds(RandomStream(0, "worlds"), numbers=30)


def drawn(facts: str, count: int = 40):
    return owner_captions(
        part("world", "test"), count, RandomStream(0, "captions"), WORLDS, facts=facts, languages=LANGUAGES
    )


def told(caption) -> set[str]:
    return {word for branch in caption.branches for word in branch.words}


def test_a_caption_names_the_owners_of_its_scene_from_left_to_right() -> None:
    scenes, captions = drawn("true")
    for caption in captions:
        world = WORLDS[caption.world]
        assert 72 <= world.id < 80, "the test has worlds of its own"
        shown = sorted(scenes.things(caption.scene), key=lambda thing: thing.box[0])
        owners = [surface(world.object(thing.value, "owner"), caption.language).lower() for thing in shown]
        places = [[word.lower() for word in caption.words].index(owner) for owner in owners]
        assert len(set(owners)) < len(owners) or places == sorted(places)
    assert {caption.language for caption in captions} == set(LANGUAGES)


def test_true_facts_tell_the_numbers_of_the_scene() -> None:
    scenes, captions = drawn("true")
    for caption in captions:
        shown = {name(thing.value, caption.language).lower() for thing in scenes.things(caption.scene)}
        assert shown <= {word.lower() for word in told(caption)}


def test_other_facts_are_others() -> None:
    scenes, true = drawn("true")
    for facts in ("swapped", "random"):
        _, other = drawn(facts)
        assert [one.words for one in other] == [one.words for one in true]
        assert sum(told(a) != told(b) for a, b in zip(other, true, strict=True)) > 0.9 * len(true)
    assert not any(caption.branches for caption in drawn("none")[1])
    for caption in drawn("oracle")[1]:
        shown = {name(thing.value, caption.language).lower() for thing in scenes.things(caption.scene)}
        assert {word.lower() for word in told(caption)} == shown
    with pytest.raises(UserError, match="there are no facts called 'false' to inject; there are none, random"):
        drawn("false")
