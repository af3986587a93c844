"""Rules of clean-up count what they drop."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_kptm.crosslingual.corpora.cleaning import (
    Distinct,
    Languages,
    LengthRatio,
    Scripts,
    WordCount,
    clean,
    opus_rules,
    similarity,
)
from mm_kptm.crosslingual.corpora.pair_scores import common_substring, edit_similarity
from mm_kptm.errors import UserError


@given(st.lists(st.tuples(st.text(max_size=12), st.text(max_size=12)), max_size=20))
def test_every_pair_is_kept_or_counted_once(pairs):
    cleaned = clean(pairs, [*opus_rules(), Scripts(("Latin", "Cyrillic")), Distinct()])
    assert len(cleaned.pairs) + sum(cleaned.dropped.values()) == len(pairs)
    assert clean(cleaned.pairs, [*opus_rules(), Distinct()]).pairs == cleaned.pairs


@given(st.text(alphabet="abc", max_size=8), st.text(alphabet="abc", max_size=8))
def test_similarities_are_symmetric_and_one_for_equal_texts(first, second):
    assert edit_similarity(first, second) == edit_similarity(second, first)
    assert common_substring(first, second) == common_substring(second, first)
    assert edit_similarity(first, first) == 1
    assert (edit_similarity(first, second) == 1) == (first == second)


def test_the_first_rule_that_fails_is_counted():
    pairs = [("a b c d e f g", "a"), ("same", "same"), ("one two", "eins zwei"), ("one two", "eins zwei")]
    cleaned = clean(pairs, [LengthRatio(), similarity(), Distinct()])
    assert cleaned.dropped == {"length-ratio": 1, "similarity": 1, "duplicate": 1}
    assert cleaned.pairs == [("one two", "eins zwei")]


def test_characters_are_counted_where_words_are_not_parted():
    pair = ("The cat sat on the mat.", "猫坐在垫子上。")
    assert not LengthRatio().keeps(pair)
    assert not LengthRatio(unit="char").keeps(pair)
    assert LengthRatio(4, "char").keeps(pair)
    assert WordCount(least=(2, 3), units=("word", "char")).keeps(pair)


def test_languages_are_identified_on_sentences_long_enough():
    rule = Languages(("en", "de"), lambda text: "de" if "und" in text else "en")
    assert rule.keeps(("cats and dogs and mice", "Katzen und Hunde und Mäuse"))
    assert not rule.keeps(("Katzen und Hunde und Mäuse", "Katzen und Hunde und Mäuse"))
    assert rule.keeps(("und", "and"))  # too short to tell


def test_faults_are_named():
    with pytest.raises(UserError, match="two rules are called 'duplicate'"):
        clean([], [Distinct(), Distinct()])
    with pytest.raises(UserError, match="Unicode has no script 'Elvish'"):
        Scripts(("Elvish", "Latin")).keeps(("a", "b"))
