"""Languages have the ids that the encoder publishes, whatever the data; where it publishes none, those of the data."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mm_kptm.batch import Inputs
from mm_kptm.crosslingual.recipes.xlm import LANGUAGES
from mm_kptm.data.sampler import seeded
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.datasets.custom import OwnTexts, parallel_sentences
from mm_kptm.datasets.pretraining import multilingual_text, token_corpus
from mm_kptm.datasets.pretraining.multilingual_text import MultilingualText
from mm_kptm.datasets.pretraining.token_corpus import TokenCorpusData
from mm_kptm.datasets.protocol import DataRequest, PreparedData
from mm_kptm.datasets.text.moses_pairs import MosesPairs, translation
from mm_kptm.datasets.text.tatoeba import TatoebaData, tatoeba
from mm_kptm.errors import UserError
from mm_kptm.systems.discovery import find
from mm_kptm.systems.recipe import Recipe
from mm_kptm.tasks.pretraining import ObjectiveSource, SourcesOfObjectives
from mm_kptm.tasks.text.sentence_retrieval import Translations

XLM, XLM_MT = find("xlm-15"), find("xlm-mt")
PUBLISHED = replace(XLM_MT, text=replace(XLM_MT.text, languages=LANGUAGES))
ALONE = {"masked-tokens": 1.0}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Sentences and their translations in the forms of four data sets."""
    (tmp_path / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, "eins", "one"]) + "\n")
    (tmp_path / "ted.de").write_text("eins\n" * 9)
    (tmp_path / "ted.en").write_text("one\n" * 9)
    (tmp_path / "lines.jsonl").write_text('{"sentences": {"de": "eins", "en": "one"}}\n')
    return tmp_path


def prepared(home: Path, name: str, recipe: Recipe, **more: Any) -> PreparedData:
    shared: dict[str, Any] = {"name": name, "vocabulary": home / "vocab.txt", "max_length": 8, **more}
    request = DataRequest(recipe, objectives=ALONE)
    match name:
        case "multilingual-text":
            return multilingual_text.pretraining(MultilingualText(train={"de-en": home / "ted"}, **shared), request)
        case "token-corpus":
            files = {"de": home / "ted.de", "en": home / "ted.en"}
            return token_corpus.pretraining(TokenCorpusData(train=files, folder=home / "corpus", **shared), request)
        case "moses-pairs":
            return translation(MosesPairs(source="de", target="en", train=home / "ted", **shared), request)
        case "tatoeba":
            return tatoeba(TatoebaData(train={"de": home / "ted"}, test={"de": home / "ted"}, **shared), request)
        case _:
            return parallel_sentences(OwnTexts(train=home / "lines.jsonl", **shared), request)


def ids(data: PreparedData) -> set[int]:
    """Ids of the languages of all that training reads and writes."""
    source: Any = data.sources["train"]()
    source = source.inputs["masked-tokens"] if isinstance(source, SourcesOfObjectives) else source
    source = source.inputs if isinstance(source, ObjectiveSource) else source
    batch = source.batch(range(len(source)), seeded(0, 0))
    if isinstance(batch, Translations):
        sides = [batch.left.text, batch.right.text]
    else:
        inputs = batch if isinstance(batch, Inputs) else batch.inputs
        sides = [inputs.text, inputs.target]
    return {language for side in sides if side is not None for language in side.languages.tolist()}


@pytest.mark.parametrize("name", ["multilingual-text", "token-corpus", "moses-pairs", "tatoeba", "custom-text"])
def test_ids_are_those_of_the_encoder_whatever_the_data(name: str, home: Path) -> None:
    recipe = PUBLISHED if name == "moses-pairs" else XLM
    data = prepared(home, name, recipe)
    assert ids(data) == {LANGUAGES.index("de"), LANGUAGES.index("en")}
    assert data.sizes.get("num_languages", 15) == 15
    assert ids(prepared(home, name, recipe, languages=("fr", "en", "de"))) == {1, 2}


@pytest.mark.parametrize("name", ["multilingual-text", "token-corpus", "moses-pairs"])
def test_an_encoder_that_publishes_none_takes_those_of_the_data(name: str, home: Path) -> None:
    data = prepared(home, name, XLM_MT)
    assert ids(data) == {0, 1} and data.sizes["num_languages"] == 2


def test_a_language_that_the_encoder_does_not_have_is_named(home: Path) -> None:
    data = MultilingualText(name="multilingual-text", vocabulary=home / "vocab.txt", train={"de-sv": home / "ted"})
    with pytest.raises(UserError, match=r"the files are in 'sv', but xlm-15 numbers the languages ar, bg, .* to yours"):
        data.language_ids(XLM, data.spoken)
    assert replace(data, languages=("sv", "de")).language_ids(XLM, data.spoken) == ("sv", "de")
