"""Parallel sentences in natural and made languages, with as many translations as are allowed."""

from dataclasses import replace

import pytest

from mm_kptm.data.sampler import seeded
from mm_kptm.datasets.protocol import DataRequest
from mm_kptm.errors import UserError
from mm_kptm.suites.number_world.datasets.made_language import MadeLanguage
from mm_kptm.suites.number_world.datasets.parallel_texts import ParallelTexts, parallel_sentences, pretraining
from mm_kptm.suites.number_world.datasets.settings import NumberWorldData
from mm_kptm.suites.number_world.generator.language import vocabulary
from mm_kptm.systems.discovery import find

DATA = NumberWorldData(questions=12, eval_questions=6, numbers=12, languages=("en", "de"), topics=("colour", "owner"))
MADE = replace(DATA, languages=("en", "made"), made=MadeLanguage(shared=0.5, order="reversed"))


def request(**objectives: float) -> DataRequest:
    return DataRequest(find("xlm-15"), None, "none", objectives)


def test_a_made_language_is_retrieved_and_has_ids_of_its_own() -> None:
    texts = ParallelTexts(MADE)
    source = texts.retrieval("test")
    assert len(source) == 6 and source.meanings[0].languages == ("en", "made")
    batch = source.batch([0], seeded(0))
    right = batch.right.text
    assert right is not None and right.languages is not None and set(right.languages.tolist()) == {5}
    assert int(right.ids.max()) < len(texts.vocabulary) and texts.num_languages == 6
    made = texts.corpus("test")[0].sentences
    assert made["made"].words == MADE.made.sentence(made["en"]).words  # type: ignore[union-attr]  # it is set above


def test_the_sentences_of_natural_languages_do_not_change() -> None:
    """A made language beside them draws nothing."""
    with_made = ParallelTexts(replace(MADE, languages=("en", "de", "made"))).corpus("train")
    for one, other in zip(ParallelTexts(DATA).corpus("train"), with_made, strict=True):
        assert other.sentences["de"] == one.sentences["de"] and other.sentences["en"] == one.sentences["en"]


def test_bitext_limits_translations_and_not_sentences() -> None:
    data = replace(MADE, texts="translations", bitext=3)
    source = pretraining(data, request(**{"masked-tokens": 1.0, "translation-language-modeling": 1.0})).sources[
        "train"
    ]()
    sizes = {name: len(inputs) for name, inputs in source.inputs.items()}  # type: ignore[attr-defined]  # by objective
    assert sizes == {"masked-tokens": 24, "translation-language-modeling": 6}
    assert len(ParallelTexts(data).translated("test")) == 12


def test_captions_with_scenes_stand_beside_translations() -> None:
    data = replace(DATA, texts="captions-and-translations")
    asked = DataRequest(find("uniter-base"), None, "none", {"masked-tokens": 1.0, "translation-language-modeling": 1.0})
    source = pretraining(data, asked).sources["train"]()
    inputs = source.inputs  # type: ignore[attr-defined]  # by objective
    assert inputs["masked-tokens"].batch([0], seeded(0)).regions is not None
    assert inputs["translation-language-modeling"].batch([0], seeded(0)).regions is None


def test_pictures_stand_beside_sentences_and_translations() -> None:
    data = replace(DATA, texts="captions-and-sentences")
    names = ("masked-tokens", "translation-language-modeling", "xlco", "image-grounded-masked-tokens")
    asked = DataRequest(find("uc2"), None, "none", dict.fromkeys(names, 1.0))
    inputs = pretraining(data, asked).sources["train"]().inputs  # type: ignore[attr-defined]  # by objective
    shown = {name: one.batch([0, 1], seeded(0)).regions is not None for name, one in inputs.items()}
    assert shown == dict.fromkeys(names, False) | {"image-grounded-masked-tokens": True}
    assert len(inputs["masked-tokens"]) == 24 and len(inputs["translation-language-modeling"]) == 24
    alone = replace(asked, objectives={"masked-tokens": 1.0, "image-grounded-masked-tokens": 1.0})
    inputs = pretraining(data, alone).sources["train"]().inputs  # type: ignore[attr-defined]  # by objective
    assert len(inputs["masked-tokens"]) == 24, "sentences, without their translations"


def test_sizes_come_from_the_extended_vocabulary() -> None:
    assert parallel_sentences(DATA, request()).sizes["vocab_size"] == len(vocabulary())
    assert parallel_sentences(MADE, request()).sizes["vocab_size"] > len(vocabulary())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"made": MadeLanguage()}, r"^data\.made is a language that data\.languages does not have; name 'made' there$"),
        ({"languages": ("en", "made")}, r"^data\.languages has 'made', but Number World speaks en, de, fr, es, zh$"),
        ({"bitext": 0}, r"^data\.bitext is 0 but must be at least 1; without translations, leave out"),
    ],
)
def test_settings_that_do_not_fit_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(DATA, **change)  # type: ignore[arg-type]  # by parameter


def test_nothing_is_said_about_scenes_in_a_made_language() -> None:
    with pytest.raises(UserError, match=r"^data\.made is a language of sentences alone, .* use it for parallel-sent"):
        MADE.side("train")


def test_the_tokenizer_of_a_made_language_reads_its_sentences() -> None:
    texts, tokenizer = ParallelTexts(MADE), MADE.tokenizer()
    said = texts.corpus("test")[0].sentences
    for language in ("en", "made"):
        assert list(tokenizer.encode(said[language].text, language).ids) == texts.vocabulary.encode(
            said[language].words
        )
    assert len(tokenizer) == len(texts.vocabulary)
