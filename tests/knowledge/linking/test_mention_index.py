"""Where texts mention names: the same as slow and plain searches find, in every script."""

from __future__ import annotations

import re
import subprocess
import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mm_kptm.knowledge.linking import vocabulary as text_words
from mm_kptm.knowledge.linking.hash_table import MISSING, NumberTable
from mm_kptm.knowledge.linking.mention_index import MentionIndex
from mm_kptm.knowledge.linking.segmenter import Segmenter

Spans = list[tuple[int, int]]


def spans(names: list[str], text: str, *, overlaps: bool = False, cased: bool = False) -> list[str]:
    found = MentionIndex(names, cased=cased).find([text], overlaps=overlaps)
    return [text[start:end] for _, start, end, _ in found]


def leftmost_longest(found: Spans) -> Spans:
    kept: Spans = []
    for start, end in sorted(found, key=lambda span: (span[0], -span[1])):
        if not kept or start >= kept[-1][1]:
            kept.append((start, end))
    return kept


def by_regex(names: list[str], text: str) -> Spans:
    """Every name on its own, between characters that are no letters; blanks of any number."""
    found = []
    for name in names:
        pattern = r"\s+".join(map(re.escape, name.split()))
        if pattern:
            before, behind = (r"(?<!\w)" if name.strip()[0].isalnum() else ""), r"(?!\w)" if name[-1].isalnum() else ""
            found += [m.span(1) for m in re.finditer(f"(?={before}({pattern}){behind})", text, re.IGNORECASE)]
    return sorted(set(found), key=lambda span: (span[0], -span[1]))


def by_slices(names: list[str], text: str) -> Spans:
    """Every slice of a text that is a name."""
    places = [(start, end) for start in range(len(text)) for end in range(len(text), start, -1)]
    return [(start, end) for start, end in places if text[start:end] in names]


NAME = st.lists(st.text("abS'-", min_size=1, max_size=3), min_size=1, max_size=3).map(" ".join)


@settings(max_examples=300, deadline=None)
@given(st.lists(NAME, max_size=6), st.lists(st.text("abS'- \n", max_size=12), max_size=4))
def test_with_blanks_between_words_the_index_finds_what_regular_expressions_find(names, texts):
    for overlaps in (True, False):
        found = MentionIndex(names).find(texts, overlaps=overlaps)
        expected = []
        for place, text in enumerate(texts):
            every = by_regex(names, text)
            expected += [(place, *span) for span in (every if overlaps else leftmost_longest(every))]
        assert [mention[:3] for mention in found] == expected


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.text("小猫市上", min_size=1, max_size=3), max_size=8),
    st.lists(st.text("小猫市上海。", max_size=12), max_size=4),
)
def test_without_blanks_the_index_finds_every_slice(names, texts):
    for overlaps in (True, False):
        found = MentionIndex(names).find(texts, overlaps=overlaps)
        expected = []
        for place, text in enumerate(texts):
            every = by_slices(names, text)
            expected += [(place, *span) for span in (every if overlaps else leftmost_longest(every))]
        assert [mention[:3] for mention in found] == expected


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text("aB 小猫-", min_size=1, max_size=4), max_size=6), st.text("aB  小猫-\n", max_size=14))
def test_the_index_and_the_segmenter_of_sentence_trees_find_the_same(names, text):
    """One by hashes over a batch, the other by dictionaries over a sentence; scripts mixed."""
    known = {" ".join(name.split()) for name in names} - {""}
    words = Segmenter(names, tags=()).words(text)
    by_segmenter = [word[1:] for word in words if " ".join(word.text.split()) in known]
    assert [mention[1:3] for mention in MentionIndex(names, cased=True).find([text])] == by_segmenter


@settings(max_examples=300, deadline=None)
@given(
    st.text("aé\u0301\u0323ßﬁẞ ½ ﾊﾟパ\u200d小İ\t㍻Ⅷ'’", max_size=10),
    st.text("eE\u0301ssfiß12⁄パ小ハ平成viii'", max_size=4),
)
def test_a_mention_has_the_folded_letters_of_its_name(text, name):
    """Whatever a text is folded to, what is cut out of it folds to the name, and its neighbours are outside."""

    def letters(written: str) -> str:
        once = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", written).casefold())
        folded = unicodedata.normalize("NFC", unicodedata.normalize("NFKD", once.casefold()))
        return "".join(folded.replace("\u200d", "").replace("’", "'").split())

    for _, start, end, _ in MentionIndex([name]).find([text], overlaps=True):
        assert letters(text[start:end]) == letters(name)
        assert not text[start].isspace() and not text[end - 1].isspace()


def test_a_mark_on_nothing_is_a_word():
    assert spans(["\u0301", "a b"], "\u0301 a \u0301\u0323 a \u0301 b") == ["\u0301", "\u0301"]


def test_a_mention_is_told_by_the_characters_of_the_text_as_it_was_given():
    assert spans(["STRASSE"], "die Straße.") == ["Straße"]
    assert spans(["cafe\u0301"], "im Café") == ["Café"]
    assert spans(["Café"], "im cafe\u0301!") == ["cafe\u0301"]
    assert spans(["パリ"], "花のﾊﾟﾘへ") == ["ﾊﾟﾘ"]
    assert spans(["nba"], "看ＮＢＡ吧") == ["ＮＢＡ"]
    assert spans(["office"], "my oﬃce") == ["oﬃce"]
    assert spans(["Fußball"], "Fuß\u00adball") == ["Fuß\u00adball"]
    assert spans(["New York"], "New\u00a0York, new\r\n\tyork") == ["New\u00a0York", "new\r\n\tyork"]


def test_a_mention_never_begins_or_ends_inside_a_character():
    assert spans(["平"], "㍻") == []
    assert spans(["平成"], "㍻") == ["㍻"]
    assert spans(["1"], "½ 1") == ["1"]
    assert spans(["ก"], "กี่ ก") == ["ก"]
    assert spans(["e"], "e\u0301 e") == ["e"]


def test_marks_in_any_order_are_one_spelling():
    assert spans(["a\u0323\u0301b"], "x a\u0301\u0323b") == ["a\u0301\u0323b"]


def test_punctuation_stands_around_words_and_in_names():
    assert spans(["Rome", "Allemagne"], "Rome's gates; «l’Allemagne», Rome-based") == ["Rome", "Allemagne", "Rome"]
    assert spans(["O'Neill", "AT&T", "Yahoo!"], "O’Neill of AT&T (Yahoo!)") == ["O’Neill", "AT&T", "Yahoo!"]
    assert spans(["Jean-Luc"], "Jean\u2010Luc") == ["Jean\u2010Luc"]
    assert spans(["U.S."], "the U.S. (U.S)") == ["U.S."]


def test_inflected_words_are_other_words():
    assert spans(["Haus", "Kind", "chanter"], "Hauses Kinder chantera Haus") == ["Haus"]


def test_blanks_are_counted_once_and_not_invented():
    assert spans(["New York", "小猫"], "NewYork New  York 小 猫 小猫") == ["New  York", "小猫"]


def test_scripts_mix():
    assert spans(["Mars", "小猫", "T恤", "iPhone手机"], "小猫去Mars了,买T恤和IPHONE手机") == [
        "小猫",
        "Mars",
        "T恤",
        "IPHONE手机",
    ]


def test_case_differs_where_it_is_asked_to():
    assert spans(["US"], "tell us about the US", cased=True) == ["US"]
    assert spans(["US"], "tell us about the US") == ["us", "US"]


def test_names_that_are_spelt_alike_share_a_number():
    index = MentionIndex(["Rome", "", "ROME", " ", "Paris"])
    assert index.numbers.tolist() == [0, MISSING, 0, MISSING, 4]
    assert [name for *_, name in index.find(["rome paris"])] == [0, 4]


def test_no_mention_spans_two_texts():
    index = MentionIndex(["a b", "小猫"])
    assert len(index.find(["a", "b", "小", "猫", ""])) == 0
    assert list(index.find(["", "a b", ""])) == [(1, 0, 3, 0)]
    assert len(index.find([])) == len(MentionIndex([]).find(["a"])) == 0


def test_texts_of_more_than_one_batch_keep_their_numbers(monkeypatch):
    texts = [f"x Rome {'y ' * (k % 7)}é小猫" for k in range(40)]
    index = MentionIndex(["Rome", "é", "小猫"])
    at_once = list(index.find(texts))
    monkeypatch.setattr("mm_kptm.knowledge.linking.mention_index._AT_ONCE", 50)
    assert list(index.find(texts)) == at_once
    assert len(at_once) == 120


def test_characters_that_no_text_should_have_are_only_characters():
    assert spans(["Rome"], "\ud800 Rome\x00\uffff\U0010ffff") == ["Rome"]
    assert spans(["\ud800"], "a \ud800") == ["\ud800"]


def test_words_with_one_hash_are_told_apart(monkeypatch):
    """A multiplier of 1 makes anagrams equal: another is taken for the names, and letters decide about texts."""
    monkeypatch.setattr(text_words, "_MULTIPLIERS", (1, 3))
    assert spans(["ab", "ba"], "ab ba") == ["ab", "ba"]
    monkeypatch.setattr(text_words, "_MULTIPLIERS", (1,))
    assert spans(["ab x", "cab"], "ba x abc ab x", overlaps=True) == ["ab x"]
    with pytest.raises(RuntimeError, match="no multiplier separates these words"):
        MentionIndex(["ab", "ba"])


def test_a_table_knows_its_keys_and_no_others():
    draw = np.random.default_rng(0)
    keys = np.unique(draw.integers(0, 1 << 63, 5000, dtype=np.uint64))
    numbers = draw.permutation(len(keys)).astype(np.int32)
    table = NumberTable(keys[::2], numbers[::2])
    assert (table(keys[::2]) == numbers[::2]).all()
    assert (table(keys[1::2]) == MISSING).all()
    # a slot is the high bits of a product: multiples of its inverse come to neighbouring slots
    close = np.arange(1, 300, dtype=np.uint64) * np.uint64(pow(0x9E3779B97F4A7C15, -1, 1 << 64))
    assert NumberTable(close, np.arange(299, dtype=np.int32))(close).tolist() == list(range(299))
    assert NumberTable(close[:0], np.zeros(0, np.int32))(close[:3]).tolist() == [MISSING] * 3


def test_mentions_do_not_depend_on_the_seed_of_hashes():
    program = (
        "from mm_kptm.knowledge.linking.mention_index import MentionIndex\n"
        "names = sorted({'Rome', 'rome', '小猫', 'new york'})\n"
        "print(list(MentionIndex(names).find(['Rome 小猫 New York'], overlaps=True)))"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1


@pytest.mark.perf_counts
def test_a_word_that_is_in_no_name_is_looked_up_once(monkeypatch):
    """Twice the text is twice the look-ups, and only what a name goes on with is looked up again."""
    asked = []
    look_up = NumberTable.__call__
    monkeypatch.setattr(NumberTable, "__call__", lambda table, keys: asked.append(len(keys)) or look_up(table, keys))
    index = MentionIndex(["new york", "new york city", "小猫"])

    def look_ups(text: str) -> int:
        asked.clear()
        index.find([text])
        return sum(asked) - 1  # the wall behind the text

    assert look_ups("we saw it " * 10) == 30
    assert look_ups("we saw it " * 20) == 60
    assert look_ups("new car " * 10) == 20
    assert look_ups("new york " * 10) == 20 + 10 + 9
    assert look_ups("小猫") == 2 + 1
