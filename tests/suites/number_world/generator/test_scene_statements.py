"""The truth of every statement, choice and phrase is that of the scene."""

import pytest

from mm_kptm.random_streams import RandomStream
from mm_kptm.suites.number_world.generator import scene_statements as generator
from mm_kptm.suites.number_world.generator.language import indefinite, words
from mm_kptm.suites.number_world.generator.lexicon import surface
from mm_kptm.suites.number_world.generator.numerals import name
from mm_kptm.suites.number_world.generator.parallel import say
from mm_kptm.suites.number_world.generator.splits import part

PART = part("iid", "train")


def test_half_of_the_numbers_are_in_both_scenes():
    scenes, said = generator.pair_statements(PART, 200, RandomStream(0), numbers=20)
    for one in said:
        (value,) = (n for n in range(20) if words(indefinite(n, None, one.language), one.language) == one.words)
        shown = [any(thing.value == value for thing in scenes.things(scene)) for scene in (one.left, one.right)]
        assert any(shown) and all(shown) == one.holds
    assert 0.4 < sum(one.holds for one in said) / len(said) < 0.6
    only = [one for one in said if not one.holds]
    left = [
        any(name(thing.value, one.language) in " ".join(one.words) for thing in scenes.things(one.left)) for one in only
    ]
    assert 0.2 < sum(left) / len(left) < 0.9  # neither image gives the answer away


def test_a_scene_entails_what_it_shows():
    scenes, said = generator.entailed(PART, 200, RandomStream(0), numbers=20)
    for one in said:
        shown = {
            verdict
            for thing in scenes.things(one.scene)
            for form in (0, 1)
            for colour in generator.COLOURS
            if say(("colour", thing.value, colour), one.language, form).words == one.sentence.words
            for verdict in ["entailment" if colour == thing.colour else "contradiction"]
        } or {"neutral"}
        assert shown == {one.verdict}
    assert {one.verdict for one in said} == {"entailment", "neutral", "contradiction"}


def test_one_candidate_is_right():
    _, asked = generator.choosing(PART, 200, RandomStream(0), numbers=20)
    for one in asked:
        assert 2 <= len(one.candidates) <= 4 and len(set(one.candidates)) == len(one.candidates)
    assert {one.right for one in asked} == {0, 1, 2, 3}
    colours = [one for one in asked if one.type == "colour"]
    known = {
        words(surface(f"colour:{colour}", one.language), one.language)
        for one in colours
        for colour in generator.COLOURS
    }
    assert all(candidate in known for one in colours for candidate in one.candidates)


def test_the_right_rationale_states_the_colour_that_was_asked_for():
    scenes, both = generator.reasoned(PART, 100, RandomStream(0), numbers=20)
    for answer, rationale in both:
        true = [
            place
            for place, candidate in enumerate(rationale.candidates)
            for thing in scenes.things(answer.scene)
            for form in (0, 1)
            if say(("colour", thing.value, thing.colour), answer.language, form).words == candidate
        ]
        assert rationale.right in true and len(true) == 2  # the other true one is about another number
        right = " ".join(rationale.candidates[rationale.right]).lower()
        assert " ".join(answer.candidates[answer.right]).lower()[:3] in right


@pytest.mark.parametrize("language", ["en", "de", "fr", "es", "zh"])
def test_phrases_end_where_their_number_is_named(language):
    from dataclasses import replace

    only = replace(PART, pairs=((language, language),))
    scenes, said = generator.phrased(only, 60, RandomStream(0), numbers=30)
    for one in said:
        things = scenes.things(one.scene)
        assert sorted(one.regions) == list(range(len(things)))
        for end, region in zip(one.ends, one.regions, strict=True):
            phrase = words(indefinite(things[region].value, things[region].colour, language), language)
            assert one.words[end + 1 - len(phrase) : end + 1] == phrase
