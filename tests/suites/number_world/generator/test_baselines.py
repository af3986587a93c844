"""What scores without doing the task."""

import pytest

from mm_kptm.errors import UserError
from mm_kptm.random_streams import RandomStream
from mm_kptm.suites.number_world.generator import knowledge, questions
from mm_kptm.suites.number_world.generator.baselines import (
    accuracy,
    chance,
    facts_only,
    image_only,
    majority,
    question_only,
)
from mm_kptm.suites.number_world.generator.facts import draw_fixed, draw_worlds
from mm_kptm.suites.number_world.generator.splits import part


@pytest.fixture(scope="module")
def seen():
    return (
        *questions.generate(part("iid", "train"), 3000, RandomStream(0, "train"), numbers=30),
        *questions.generate(part("iid", "test"), 1000, RandomStream(0, "test"), numbers=30),
    )


@pytest.fixture(scope="module")
def known():
    worlds = draw_worlds(RandomStream(0, "facts"), numbers=30)
    return (
        worlds,
        knowledge.generate(part("world", "train"), 3000, RandomStream(0, "train"), worlds)[1],
        knowledge.generate(part("world", "test"), 1500, RandomStream(0, "test"), worlds)[1],
    )


def test_no_blind_guess_answers_what_is_seen(seen):
    train_scenes, train, test_scenes, test = seen
    scores = {
        "chance": chance(train, test),
        "majority": accuracy(majority(train, test), test),
        "question": accuracy(question_only(train, test), test),
        "image": accuracy(image_only(train, train_scenes, test, test_scenes), test),
    }
    assert max(scores.values()) < 0.35, scores
    assert scores["majority"] <= scores["question"]


def test_the_question_alone_is_worth_the_prior_of_yes_and_no(seen):
    _, train, _, test = seen
    binary = [question for question in test if question.type in ("compare", "beside")]
    assert accuracy(question_only(train, binary), binary) == pytest.approx(0.5, abs=0.12)
    assert chance(train, binary) == pytest.approx(0.5)


def test_facts_alone_leave_a_choice_among_the_names(known):
    """As good as picking a name: the mean of one over the count, and a little more where two names agree."""
    _, _, test = known
    picked = sum(1 / len(question.candidates) for question in test) / len(test)
    assert accuracy(facts_only(test), test) == pytest.approx(picked, abs=0.08)


def test_facts_alone_say_nothing_without_facts_and_all_from_an_oracle(known):
    worlds, _, test = known
    assert accuracy(facts_only(knowledge.inject(test, "none", worlds, RandomStream(0))), test) == 0
    assert accuracy(facts_only(knowledge.inject(test, "oracle", worlds, RandomStream(0))), test) == 1
    random = knowledge.inject(test, "random", worlds, RandomStream(0))
    assert accuracy(facts_only(random), random) < 0.16


def test_new_worlds_cannot_be_guessed_from_training(known):
    _, train, test = known
    assert accuracy(question_only(train, test), test) == pytest.approx(chance(train, test), abs=0.05)


def test_a_fixed_graph_is_no_secret_to_who_knows_the_number():
    """What a model can learn by heart: the answer follows from number and relation alone, facts unread."""
    fixed = draw_fixed(RandomStream(0, "facts"), numbers=30)
    train = knowledge.generate(part("iid", "train"), 2000, RandomStream(0, "train"), fixed)[1]
    test = knowledge.generate(part("iid", "test"), 300, RandomStream(0, "test"), fixed)[1]
    learnt = {(question.number, question.relation): question.answer.label for question in train}
    assert accuracy([learnt[question.number, question.relation] for question in test], test) == 1


def test_no_questions_have_no_accuracy():
    with pytest.raises(UserError, match="an accuracy was asked for over no questions"):
        accuracy([], [])
