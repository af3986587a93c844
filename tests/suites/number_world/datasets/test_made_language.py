"""Languages made at a set distance from another one."""

import pytest

from mm_kptm.errors import UserError
from mm_kptm.random_streams import RandomStream
from mm_kptm.suites.number_world.datasets.made_language import CODE, MadeLanguage
from mm_kptm.suites.number_world.generator.captions import CaptionText
from mm_kptm.suites.number_world.generator.language import vocabulary
from mm_kptm.suites.number_world.generator.parallel import corpus

SENTENCE = CaptionText("The red one is Anna's.", ("the", "red", "one", "is", "anna", "."))


def test_order_and_spelling_are_set_apart() -> None:
    assert MadeLanguage(shared=1.0).sentence(SENTENCE).words == SENTENCE.words
    reversed_words = ("anna", "is", "one", "red", "the", ".")
    assert MadeLanguage(shared=1.0, order="reversed").sentence(SENTENCE).words == reversed_words
    rotated_words = ("one", "is", "anna", "the", "red", ".")
    assert MadeLanguage(shared=1.0, order="rotated").sentence(SENTENCE).words == rotated_words
    assert MadeLanguage().sentence(SENTENCE).words == ("თჰე", "რედ", "ონე", "ის", "ანნა", ".")


def test_the_share_of_common_words_is_the_one_asked_for_and_grows_by_additions() -> None:
    words = [word for word in vocabulary().words if word.isalpha()]
    before: set[str] = set()
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        language = MadeLanguage(shared=share)
        kept = {word for word in words if language.word(word) == word}
        assert before <= kept and len(kept) / len(words) == pytest.approx(share, abs=0.05)
        before = kept


def test_different_words_stay_different_and_old_ids_stay() -> None:
    for share in (0.0, 0.4):
        language = MadeLanguage(shared=share)
        spelt = [language.word(word) for word in vocabulary().words]
        assert len(set(spelt)) == len(spelt)
        extended = language.vocabulary()
        assert extended.words[: len(vocabulary())] == vocabulary().words
        (one, *_) = corpus("test", 3, RandomStream(0), numbers=20, languages=("en",))
        assert extended.ids["[UNK]"] not in extended.encode(language.sentence(one.sentences["en"]).words)


def test_settings_that_make_no_language_are_refused() -> None:
    with pytest.raises(UserError, match=r"^data\.made\.base is 'tlh', but Number World speaks en, de, fr, es, zh$"):
        MadeLanguage(base="tlh")
    with pytest.raises(UserError, match=r"^data\.made\.shared is 1\.5 but must be a share between 0 and 1$"):
        MadeLanguage(shared=1.5)
    assert CODE == "made"
