"""Answers are compared as the official evaluation of VQA compares them."""

from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_kptm.data.formats.vqa_v2 import VqaAnnotation
from mm_kptm.tasks.metrics.vqa import CONTRACTIONS, answer_vocabulary, normalised, soft_scores, vqa_accuracy


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("  A cat\n", "cat"),
        ("Two", "2"),
        ("none", "0"),
        ("ten dogs", "10 dogs"),
        ("couldnt've", "couldn't've"),
        ("couldn'tve", "couldn't've"),
        ("twas", "'twas"),
        ("somebody'd", "somebodyd"),  # a slip of the released table
        ("shes", "shes"),  # not in the released table
        ("red,blue", "red blue"),
        ("red, blue", "red blue"),
        ("1,000", "1000"),
        ("1,000 x-rays", "1000 xrays"),  # a number with a comma glues every sign of the answer
        ("x-ray", "x ray"),
        ("3.5", "3.5"),
        ("U.S.", "us"),
        ("it's", "it's"),
        ("6:30", "6:30"),
        ("?", ""),
        ("what ?!", "what"),
    ],
)
def test_an_answer_is_normalised_as_officially(answer, expected):
    assert normalised(answer) == expected


def test_periods_beyond_the_thirty_second_stay():
    """The released code passes a flag as the count of replacements."""
    assert normalised("." * 40) == "." * 8


def test_every_contraction_lacks_exactly_one_apostrophe():
    assert len(CONTRACTIONS) == 114
    assert all(len(form) == len(bare) + 1 for bare, form in CONTRACTIONS.items() if bare != "somebody'd")


@given(st.lists(st.sampled_from(["red", "blue", "2"]), min_size=10, max_size=10), st.sampled_from(["red", "2", "x"]))
def test_accuracy_is_the_mean_over_nine_of_ten_people(given_, answer):
    nines = [min(1, nine.count(answer) / 3) for nine in combinations(given_, 9)]
    assert vqa_accuracy(answer, given_) == pytest.approx(sum(nines) / 10)


def test_answers_are_normalised_only_where_people_differ():
    assert vqa_accuracy("2", ["two"] * 9 + ["three"]) == 1
    assert vqa_accuracy("2", ["two"] * 10) == 0


@given(st.lists(st.sampled_from(["red", "Red.", "blue", "a dog"]), min_size=10, max_size=10))
def test_soft_scores_are_the_accuracy_of_each_answer(given_):
    for answer, score in soft_scores(given_).items():
        people = [normalised(other) for other in given_]
        assert score == pytest.approx(vqa_accuracy(answer, people))
    assert soft_scores(given_).keys() == Counter(map(normalised, given_)).keys()


def test_rare_answers_are_not_to_choose_from():
    def annotation(number, answer):
        return VqaAnnotation(number, number, (answer,), answer, "what", "other")

    common = [annotation(n, "Yes.") for n in range(10)] + [annotation(n, "the dog") for n in range(20, 29)]
    rare = [annotation(n, "cat") for n in range(40, 48)]
    assert answer_vocabulary(common + rare) == ("yes", "dog")
    assert answer_vocabulary(common + rare, min_count=8) == ("yes", "dog", "cat")
