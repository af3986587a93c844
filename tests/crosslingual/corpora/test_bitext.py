"""Translations stand in one row, each counted from its own beginning."""

import pytest

from mm_kptm.crosslingual.corpora.bitext import EncodedSentence, every_pair, monolingual, translations
from mm_kptm.data.packing import Packed
from mm_kptm.data.tokenizers.protocol import Specials
from mm_kptm.errors import UserError

SPECIALS = Specials(pad=0, unknown=1, start=2, stop=3, mask=4)
ENGLISH, GERMAN, CHINESE = EncodedSentence((10, 11), 0), EncodedSentence((20, 21, 22), 1), EncodedSentence((30,), 4)


def test_a_translation_is_read_as_if_it_stood_alone():
    pair = translations([(ENGLISH, GERMAN)], SPECIALS)
    alone = monolingual([ENGLISH, GERMAN], SPECIALS)
    assert {name: column.tolist() for name, column in pair.columns.items()} == {
        name: column.tolist() for name, column in alone.columns.items()
    }
    assert (pair.lengths.tolist(), alone.lengths.tolist()) == ([9], [4, 5])


def test_every_two_languages_are_paired_in_both_orders():
    pairs = every_pair([[ENGLISH, GERMAN, CHINESE]])
    assert len(pairs) == 6
    assert (GERMAN, ENGLISH) in pairs and (ENGLISH, GERMAN) in pairs


def test_a_mixture_is_one_set_of_texts_behind_the_other():
    mixed = Packed.joined(monolingual([CHINESE], SPECIALS), translations([(ENGLISH, GERMAN)], SPECIALS))
    columns, lengths = mixed.take([1, 0])
    assert lengths == (9, 3)
    assert columns["languages"].tolist() == [0] * 4 + [1] * 5 + [4] * 3


def test_a_sentence_is_no_translation_of_its_own_language():
    with pytest.raises(UserError, match="pair 1 is no translation: both sentences are in language 0"):
        translations([(ENGLISH, GERMAN), (ENGLISH, EncodedSentence((5,), 0))], SPECIALS)
