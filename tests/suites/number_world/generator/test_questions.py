"""Questions about what is seen, read back from their own words."""

from collections import Counter, defaultdict
from dataclasses import replace

import pytest

from mm_kptm.errors import UserError
from mm_kptm.random_streams import RandomStream
from mm_kptm.suites.number_world.generator.language import vocabulary
from mm_kptm.suites.number_world.generator.lexicon import answers, colour_word, surface
from mm_kptm.suites.number_world.generator.numerals import LANGUAGES, name
from mm_kptm.suites.number_world.generator.questions import TYPES, generate
from mm_kptm.suites.number_world.generator.scene import COLOURS
from mm_kptm.suites.number_world.generator.splits import part
from mm_kptm.suites.number_world.generator.wordings.wording import MORE, MOST, SIDES


@pytest.fixture(scope="module")
def asked():
    return generate(part("iid", "train"), 4000, RandomStream(0, "questions"))


def _mentioned(question):
    """The numbers and colours that a question names, in the order of their words."""
    numbers = {name(number, question.language).lower(): number for number in range(100)}
    forms = {
        colour_word(colour, question.language, form): colour
        for colour in COLOURS
        for form in range(3 if question.language == "de" else 2)
    }
    named = [numbers[word] for word in question.words if word in numbers]
    if question.language == "fr" and question.type.startswith("exists"):
        named = named[1:]  # "un" is an article here
    return named, [forms[word] for word in question.words if word in forms]


def _expected(question, things):
    """The answer worked out from the words of the question and the scene, without the generator."""
    named, coloured = _mentioned(question)
    across = sorted(things, key=lambda thing: thing.box[0])
    upward = sorted(things, key=lambda thing: thing.value)
    by_value = {thing.value: thing for thing in things}
    language = question.language
    yes = {True: "yes", False: "no"}
    match question.type:
        case "colour":
            return f"colour:{by_value[named[0]].colour}"
        case "number":
            (thing,) = (thing for thing in things if thing.colour == coloured[0])
            return f"number:{thing.value}"
        case "count":
            return f"count:{len(things)}"
        case "count-colour":
            return f"count:{sum(thing.colour == coloured[0] for thing in things)}"
        case "exists":
            return yes[named[0] in by_value]
        case "exists-coloured":
            return yes[named[0] in by_value and by_value[named[0]].colour == coloured[0]]
        case "leftmost":
            return f"number:{across[0].value}"
        case "rightmost":
            return f"number:{across[-1].value}"
        case "largest":
            return f"number:{upward[-1].value}"
        case "smallest":
            return f"number:{upward[0].value}"
        case "compare":
            first, second = (next(t.value for t in things if t.colour == colour) for colour in coloured)
            turned = language != "de" and question.form == 2  # "compared with" names the other first
            if turned:
                first, second = second, first
            larger = MORE[language][0] in question.words
            return yes[first > second if larger else first < second]
        case "beside":
            first, second = (by_value[number].box[0] for number in named)
            return yes[first < second if SIDES[language][0] in question.words else first > second]
    raise AssertionError(question.type)


def test_answers_follow_from_the_words_and_the_scene(asked):
    scenes, questions = asked
    for question in questions:
        assert _expected(question, scenes.things(question.scene)) == question.answer.label, question.sentence
    assert {question.type for question in questions} == set(TYPES)


def test_sides_and_sizes_are_said_right(asked):
    for question in asked[1]:
        if question.type in ("leftmost", "rightmost"):
            assert SIDES[question.language][question.type == "rightmost"] in question.words
        if question.type in ("largest", "smallest"):
            assert MOST[question.language][question.type == "smallest"] in question.words


def test_yes_and_no_are_equally_frequent(asked):
    counts = defaultdict(Counter)
    for question in asked[1]:
        if question.answer.label in ("yes", "no"):
            counts[question.type][question.answer.label] += 1
    assert set(counts) == {"exists", "exists-coloured", "compare", "beside"}
    for by_answer in counts.values():
        assert 0.42 < by_answer["yes"] / by_answer.total() < 0.58


def test_languages_and_wordings_share_the_questions_evenly(asked):
    counts = Counter((question.language, question.form) for question in asked[1])
    assert len(counts) == 20 and min(counts.values()) > 140


def test_every_word_and_answer_is_known(asked):
    for question in asked[1]:
        assert 1 not in vocabulary().encode(question.words)
        assert question.answer.label in answers()
        assert question.answer.surface == surface(question.answer.label, question.language)


def test_the_subject_is_the_region_asked_about(asked):
    scenes, questions = asked
    for question in questions:
        if question.type in ("number", "leftmost", "largest"):
            assert question.answer.label == f"number:{scenes.things(question.scene)[question.subject].value}"
        if question.type == "colour":
            assert question.answer.label == f"colour:{scenes.things(question.scene)[question.subject].colour}"


def test_ids_are_unique_and_name_their_split(asked):
    ids = [question.id for question in asked[1]]
    assert len(set(ids)) == len(ids) and ids[3] == "vqa-iid-train-000003"


def test_a_small_world_names_small_numbers():
    scenes, questions = generate(part("iid", "test"), 300, RandomStream(2), numbers=30)
    assert scenes.values.max() < 30
    small = {name(number, language).lower() for number in range(30) for language in LANGUAGES}
    large = {name(number, language).lower() for number in range(30, 100) for language in LANGUAGES} - small
    assert not any(word in large for question in questions for word in question.words)


def test_a_type_that_is_not_asked_is_refused():
    with pytest.raises(UserError, match="no question of type 'shape'; the types are colour, number"):
        generate(replace(part("iid", "train"), types=("shape",)), 3, RandomStream(0))
