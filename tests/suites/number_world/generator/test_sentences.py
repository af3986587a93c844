"""Captions, expressions, parallel sentences and statements."""

from collections import Counter
from dataclasses import replace

import pytest

from mm_kptm.errors import UserError
from mm_kptm.random_streams import RandomStream
from mm_kptm.suites.number_world.generator.captions import captions, referring
from mm_kptm.suites.number_world.generator.facts import draw_worlds
from mm_kptm.suites.number_world.generator.language import vocabulary
from mm_kptm.suites.number_world.generator.numerals import LANGUAGES, name
from mm_kptm.suites.number_world.generator.parallel import corpus, side_of
from mm_kptm.suites.number_world.generator.splits import part
from mm_kptm.suites.number_world.generator.statements import STATED_RELATIONS, entailment, related, typing


def test_captions_say_what_is_seen_from_left_to_right():
    scenes, described = captions(part("iid", "train"), 60, RandomStream(0))
    for caption in described:
        things = sorted(scenes.things(caption.scene), key=lambda thing: thing.box[0])
        for language in LANGUAGES:
            said = caption.sentences[language].words
            places = [said.index(name(thing.value, language).lower(), 3) for thing in things]
            if language != "fr" or all(thing.value != 1 for thing in things):  # "un" is an article too
                assert places == sorted(places)
            assert 1 not in vocabulary().encode(said)


def test_near_misses_differ_from_the_caption_in_one_respect():
    _, described = captions(part("iid", "train"), 60, RandomStream(0), languages=("en",))
    changed = {"colour": (1, 2), "number": (1,), "order": (2, 3, 4), "colours": (2, 3, 4)}  # a or an may change too
    for caption in described:
        right = caption.sentences["en"].words
        for negative in caption.negatives["en"]:
            wrong = negative.sentence.words
            assert wrong != right and len(wrong) == len(right)
            different = [k for k in range(len(right)) if wrong[k] != right[k] and right[k] not in ("a", "an")]
            assert len(different) in changed[negative.kind], (negative, caption.sentences["en"].text)
            if negative.kind in ("order", "colours"):
                assert Counter(wrong) == Counter(right)


def test_an_expression_points_at_one_region():
    scenes, expressions = referring(part("iid", "train"), 600, RandomStream(0))
    for expression in expressions:
        things = scenes.things(expression.scene)
        target = things[expression.target]
        said = expression.sentence.words
        assert 1 not in vocabulary().encode(said)
        if expression.type == "name":
            assert name(target.value, expression.language).lower() in said
        if expression.language == "en" and expression.type == "colour":
            assert [thing for thing in things if thing.colour in said] == [target]
        if expression.language == "en" and expression.type in ("side", "beside"):
            across = sorted(things, key=lambda thing: thing.box[0])
            if expression.type == "side":
                assert target == across[-1 if "right" in said else 0]
            else:
                (anchor,) = (thing for thing in things if thing.colour in said)
                assert across.index(target) - across.index(anchor) == (1 if "right" in said else -1)
        if expression.language == "en" and expression.type == "extreme":
            most = max if "largest" in said else min
            assert target.value == most(thing.value for thing in things)
    assert len({(e.type, e.language) for e in expressions}) == 25


def test_held_out_sentences_are_in_no_parallel_data():
    sides = {side: corpus(side, 400, RandomStream(0), numbers=30) for side in ("train", "dev", "test")}
    meanings = {side: {sentence.meaning for sentence in sentences} for side, sentences in sides.items()}
    assert all(len(found) == 400 for found in meanings.values())
    assert not meanings["train"] & meanings["test"] and not meanings["train"] & meanings["dev"]
    texts = {side: {s.sentences["en"].text for s in sentences} for side, sentences in sides.items()}
    assert not texts["train"] & texts["test"]
    assert all(side_of(meaning) == side for side, found in meanings.items() for meaning in found)


def test_parallel_sentences_name_the_same_numbers():
    for sentence in corpus("train", 200, RandomStream(1), topics=("colour", "beside", "larger", "owner")):
        numbers = [item for item in sentence.meaning[1:] if isinstance(item, int)]
        numbers = [numbers[0], numbers[-1]] if sentence.type == "beside" else numbers
        for language, said in sentence.sentences.items():
            assert {name(number, language).lower() for number in numbers} <= set(said.words)


def test_a_topic_that_runs_out_is_refused():
    with pytest.raises(UserError, match=r"5000 different sentences were asked for, but only .* about colour"):
        corpus("test", 5000, RandomStream(0), numbers=10, topics=("colour",))
    with pytest.raises(UserError, match="no sentences about 'weather'; the topics are caption, colour"):
        corpus("test", 5, RandomStream(0), topics=("weather",))


@pytest.fixture(scope="module")
def worlds():
    return draw_worlds(RandomStream(0, "facts"))


def test_types_follow_from_the_number_mentioned(worlds):
    for example in typing(part("iid", "train"), 300, RandomStream(0), worlds):
        assert example.sentence.words[example.mention] == name(example.number, example.language).lower()
        assert ("odd" in example.types) == bool(example.number % 2)
        assert ("two-digit" in example.types) == (example.number > 9)


def test_both_mentions_stand_where_they_are_said_to(worlds):
    examples = related(part("world", "test"), 900, RandomStream(0), worlds)
    for example in examples:
        assert example.head != example.tail
        assert example.world is None or example.world in range(72, 80)
        if example.relation in ("owner", "roman") and example.language == "en":
            number = example.sentence.words[example.head]
            tail = example.sentence.words[example.tail]
            value = next(n for n in range(100) if name(n, "en") == number)
            assert worlds[example.world].object(value, example.relation).partition(":")[2].lower() == tail
    assert {example.relation for example in examples} == set(STATED_RELATIONS)


def test_verdicts_follow_from_the_sentences():
    """Read back in English: the hypothesis is the premise turned round, denied, or about another number."""
    english = replace(part("iid", "train"), pairs=(("en", "en"),))
    examples = entailment(english, 300, RandomStream(0))
    names = {name(number, "en") for number in range(100)}

    def claim(sentence):
        """The numbers from left to right."""
        first, second = (word for word in sentence.words if word in names)
        turned = sentence.words[0] == "to"
        mover, anchor = (second, first) if turned else (first, second)
        return (mover, anchor) if "left" in sentence.words else (anchor, mover)

    for example in examples:
        premise, hypothesis = claim(example.premise), claim(example.hypothesis)
        if example.verdict == "entailment":
            assert hypothesis == premise
        elif example.verdict == "contradiction":
            assert hypothesis == premise[::-1]
        else:
            assert len(set(premise) & set(hypothesis)) == 1
    assert min(Counter(example.verdict for example in examples).values()) > 70


def test_premises_are_not_shared_between_sides():
    said = {
        side: {e.premise.text for e in entailment(part("lang-0", side), 200, RandomStream(0))}
        for side in ("train", "dev")
    }
    assert not said["train"] & said["dev"]
