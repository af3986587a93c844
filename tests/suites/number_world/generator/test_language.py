"""Sentences, words and the vocabulary."""

from string import Formatter

import pytest

from mm_kptm.errors import UserError
from mm_kptm.suites.number_world.generator.facts import RELATIONS
from mm_kptm.suites.number_world.generator.language import SPECIALS, fill, indefinite, vocabulary, words
from mm_kptm.suites.number_world.generator.lexicon import answers, colour_word, surface
from mm_kptm.suites.number_world.generator.numerals import LANGUAGES, name
from mm_kptm.suites.number_world.generator.wordings.fact_wording import KNOWN
from mm_kptm.suites.number_world.generator.wordings.statement_wording import REFERRED, STATED
from mm_kptm.suites.number_world.generator.wordings.wording import SEEN


@pytest.mark.parametrize("wordings", [SEEN, KNOWN], ids=["seen", "known"])
def test_every_question_is_asked_in_four_ways_in_five_languages(wordings):
    assert tuple(wordings) == LANGUAGES
    for language in LANGUAGES:
        assert set(wordings[language]) == set(wordings["en"])
        for forms in wordings[language].values():
            assert len(set(forms)) == 4
    assert set(KNOWN["en"]) == set(RELATIONS)


@pytest.mark.parametrize("wordings", [SEEN, STATED, REFERRED], ids=["seen", "stated", "referred"])
def test_the_same_is_said_in_every_language(wordings):
    """Each wording asks for the same things, whatever their grammatical form."""

    def slots(form):
        return {slot[0].lower() for _, slot, _, _ in Formatter().parse(form) if slot}

    for type_, forms in wordings["en"].items():
        for language in LANGUAGES:
            assert [slots(form) for form in wordings[language][type_]] == [slots(form) for form in forms]


def test_chinese_numbers_follow_the_rule():
    said = [name(number, "zh") for number in (0, 5, 10, 11, 20, 21, 99)]
    assert said == ["零", "五", "十", "十一", "二十", "二十一", "九十九"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_name_of_a_number_is_one_word(language):
    said = [words(name(number, language), language) for number in range(100)]
    assert all(len(word) == 1 for word in said)
    assert len(set(said)) == 100


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_answer_is_one_known_word(language):
    for label in answers():
        (word,) = words(surface(label, language), language)
        assert word in vocabulary().ids


def test_adjectives_agree():
    assert indefinite(27, "red", "de") == "eine rote Siebenundzwanzig"
    assert indefinite(5, "pink", "de") == "eine rosa Fünf"
    assert indefinite(27, "white", "fr") == "un vingt-sept blanc"
    assert indefinite(8, None, "en") == "an eight" and indefinite(8, "red", "en") == "a red eight"
    assert indefinite(1, None, "en") == "a one" and indefinite(1, "orange", "en") == "an orange one"
    assert colour_word("orange", "fr", 1) == "orange" and colour_word("blue", "es", 1) == "azules"


def test_counting_in_chinese_takes_a_measure_word():
    assert [surface(f"count:{count}", "zh") for count in (1, 2, 3)] == ["一个", "两个", "三个"]


def test_words_follow_the_rule():
    assert words("¿Está el treinta y uno a la izquierda del dos?", "es") == (
        "¿", "está", "el", "treinta y uno", "a", "la", "izquierda", "del", "dos", "?",
    )  # fmt: skip
    assert words("Comment s'écrit le vingt et un ?", "fr") == ("comment", "s'", "écrit", "le", "vingt et un", "?")
    assert words("二十七的罗马数字是XXVII。", "zh") == ("二十七", "的", "罗马数字", "是", "xxvii", "。")
    assert words("vingt et une", "fr") == ("vingt", "et", "une")


def test_words_of_another_language_are_refused():
    with pytest.raises(UserError, match="no words for the language 'it'; the languages are en, de, fr, es, zh"):
        words("uno", "it")


def test_sentences_begin_with_a_capital():
    assert fill("{it} est-il pair ?", "fr", it="le nombre rouge") == "Le nombre rouge est-il pair ?"
    assert fill("¿{it}?", "es", it="uno") == "¿Uno?"


def test_the_vocabulary_starts_with_its_special_words():
    known = vocabulary()
    assert known.words[:5] == SPECIALS and known.ids["[PAD]"] == 0
    assert list(known.words[5:]) == sorted(known.words[5:])
    assert known.encode(["[CLS]", "twenty-seven", "hippopotamus"]) == [2, known.ids["twenty-seven"], 1]
    assert len(known) == len(set(known.words)) < 1500
