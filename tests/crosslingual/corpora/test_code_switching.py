"""Code-switching changes what it may and nothing else."""

import random

import pytest

from mm_kptm.crosslingual.corpora.code_switching import CodeSwitcher, read_dictionary
from mm_kptm.errors import UserError


def switcher(**rates: float) -> CodeSwitcher:
    return CodeSwitcher([{"cat": ["Katze", "Kater"]}], generator=random.Random(1), **rates)


def test_words_keep_their_places_and_case():
    assert switcher(token_rate=1.0).words(["A", "cat", "Cat"])[::2] == ["A", "Cat"]
    assert switcher(token_rate=1.0).words(["cat"])[0] in ("Katze", "Kater")


def test_a_rate_of_nothing_changes_nothing():
    assert switcher(token_rate=0.0).words(["cat"] * 50) == ["cat"] * 50
    assert switcher(token_rate=1.0, sentence_rate=0.0).sentence("cat") == "cat "
    assert switcher(token_rate=1.0, sentence_rate=0.0).dialogue("cat") == "cat "


def test_a_dictionary_collects_the_translations_of_a_word(tmp_path):
    file = tmp_path / "en-de.txt"
    file.write_text("cat\tKatze\ncat Kater\n\nice cream\tEis\n", encoding="utf-8")
    assert read_dictionary(file) == {"cat": ["Katze", "Kater"], "ice cream": ["Eis"]}


def test_faults_are_named(tmp_path):
    file = tmp_path / "en-de.txt"
    file.write_text("cat Katze\nalone\n", encoding="utf-8")
    with pytest.raises(UserError, match="line 2 is 'alone'; a word, a tab or a space"):
        read_dictionary(file)
    file.write_text("\n", encoding="utf-8")
    with pytest.raises(UserError, match="a bilingual dictionary, a pair of words per line, was expected"):
        read_dictionary(file)
    with pytest.raises(UserError, match="without a dictionary changes nothing"):
        CodeSwitcher([], token_rate=0.5, generator=random.Random(0))
    with pytest.raises(UserError, match=r"a token rate of 1.5 is no probability"):
        switcher(token_rate=1.5)
