"""Captions are switched word by word, or in one word, and a dictionary that cannot serve is refused."""

import random

import numpy as np
import pytest

from mm_kptm.crosslingual.corpora.caption_switching import CaptionSwitcher
from mm_kptm.errors import UserError

WORDS = {"dog": {"de": ["Hund"], "fr": ["chien", "clebs"]}, "park": {"de": ["Park"]}}


def switcher(**rates):
    return CaptionSwitcher(WORDS, generator=random.Random(0), choices=np.random.RandomState(0), **rates)


def test_words_with_their_punctuation_or_in_another_case_are_not_found():
    assert switcher().words("Dog dog. parks") == "Dog dog. parks"
    assert switcher().one_word("Dog dog. parks", 2, 1) == ["Dog dog. parks"] * 3


def test_one_word_is_switched_in_every_positive_and_negative():
    captions = switcher().one_word("a dog in the park", 3, 2)
    assert len(captions) == 5
    for caption in captions:
        changed = [
            one != other for one, other in zip(caption.split(" "), ["a", "dog", "in", "the", "park"], strict=True)
        ]
        assert sum(changed) == 1


def test_rates_are_kept():
    assert switcher(sentence_rate=0.0).words("a dog") == "a dog"
    assert switcher(word_rate=0.0).words("a dog") == "a dog"
    switched = [switcher().words("park") for _ in range(3)]
    assert switched == ["Park"] * 3


def test_what_cannot_be_switched_is_refused():
    with pytest.raises(UserError, match=r"^a word rate of 1.5 is no probability; choose one from 0 to 1$"):
        switcher(word_rate=1.5)
    for dictionary, sentence in (
        ({}, "without a dictionary"),
        ({"dog": {"de": []}}, "names 'dog', but no translation"),
    ):
        with pytest.raises(UserError, match=sentence):
            CaptionSwitcher(dictionary, generator=random.Random(0), choices=np.random.RandomState(0))
