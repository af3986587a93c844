"""Texts of tokenizers that put nothing in front of a text, as T5's: sources, targets and pairs."""

from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from mm_kptm.data.sampler import seeded
from mm_kptm.datasets.pretraining.multilingual_text import MultilingualText
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import Built, build
from mm_kptm.experiment.settings import EncoderSettings, Experiment

TEXTS = {"de": "eins zwei\ndrei\nvier", "en": "one two\nthree\nfour"}
WORDS = ["<pad>", "</s>", "<unk>", "<mask>", *" ".join(TEXTS.values()).split()]
T5 = {"dim": 8, "num_heads": 2, "head_dim": 4, "num_layers": 1, "ffn_dim": 8, "dropout": 0.0}
XLM = {"dim": 8, "num_heads": 2, "num_layers": 1, "max_positions": 24, "dropout": 0.0}


@pytest.fixture
def data(tmp_path: Path) -> MultilingualText:
    for language, text in TEXTS.items():
        (tmp_path / f"ted.{language}").write_text(f"{text}\n")
    engine = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    engine.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    engine.save(str(tmp_path / "tokenizer.json"))
    return MultilingualText(
        name="multilingual-text",
        vocabulary=tmp_path / "tokenizer.json",
        train={"de-en": tmp_path / "ted"},
        max_length=16,
    )


def built(data: MultilingualText, objective: str, recipe: str = "mt5-small") -> Built:
    sizes = T5 if "t5" in recipe else XLM
    return build(Experiment("own", EncoderSettings(recipe, sizes), data, objectives={objective: 1.0}))


def words(tokens) -> list[list[str]]:
    return [[WORDS[token] for token in part.tolist()] for part in tokens.layout.split(tokens.ids)]


@pytest.mark.parametrize("recipe", ["mt5-small", "t5-small"])
def test_a_source_has_no_token_in_front_and_a_target_the_padding_token(data: MultilingualText, recipe: str) -> None:
    source = built(data, "next-tokens", recipe).training
    batch = source.batch(range(6), seeded(0)).by_name["next-tokens"]
    said = dict(zip(map(tuple, words(batch.inputs.text)), words(batch.inputs.target), strict=True))
    assert said[("eins", "zwei", "</s>")] == ["<pad>", "one", "two", "</s>"]
    assert said[("four", "</s>")] == ["<pad>", "vier", "</s>"]
    assert [source.length(place) for place in range(6)] == source.lengths.tolist() == [7, 7, 5, 5, 5, 5]


def test_a_text_may_fill_its_length(data: MultilingualText) -> None:
    for language in TEXTS:
        (data.train["de-en"].with_name(f"ted.{language}")).write_text("eins zwei drei vier " * 3 + "\n")
    source = built(replace(data, max_length=8), "next-tokens").training
    batch = source.batch([0], seeded(0)).by_name["next-tokens"]
    assert words(batch.inputs.text) == [["eins", "zwei", "drei", "vier", "eins", "zwei", "drei", "</s>"]]
    assert words(batch.inputs.target) == [["<pad>", "eins", "zwei", "drei", "vier", "eins", "zwei", "</s>"]]


def test_restored_words_begin_with_the_first(data: MultilingualText) -> None:
    batch = built(data, "word-denoising").training.batch([0], seeded(0)).by_name["word-denoising"]
    assert words(batch.inputs.target) == [["<pad>", "eins", "zwei", "</s>"]]
    assert words(batch.inputs.text)[0][0] != "<pad>"
    assert [WORDS[label] for label in batch.labels.tolist()] == ["eins", "zwei", "</s>"]


def test_a_pair_is_two_texts_with_their_stops(data: MultilingualText) -> None:
    source = built(data, "translation-language-modeling", "xlm-15").training
    batch = source.batch([0], seeded(0)).by_name["translation-language-modeling"]
    text = batch.inputs.text
    whole = replace(text, ids=text.ids.index_copy(0, batch.rows, batch.labels))
    assert words(whole) == [["eins", "zwei", "</s>", "one", "two", "</s>"]]
    assert whole.positions.tolist() == [0, 1, 2, 0, 1, 2] and len(whole.ids) == source.length(0) == source.lengths[0]


def test_an_alignment_has_every_word(data: MultilingualText) -> None:
    batch = built(data, "word-alignment", "xlm-r-base").training.batch([0, 1], seeded(0)).by_name["word-alignment"]
    assert words(batch.clean)[0] == ["eins", "zwei", "</s>", "one", "two", "</s>"]
    assert batch.spans.tolist() == [[0, 2, 3, 5], [6, 8, 9, 11]]


def test_documents_begin_with_a_word(data: MultilingualText) -> None:
    source = built(data, "cross-lingual-masked-tokens", "xlm-15").training
    batch = source.batch([0], seeded(0)).by_name["cross-lingual-masked-tokens"]
    text = batch.inputs.text
    whole = replace(text, ids=text.ids.index_copy(0, batch.rows, batch.labels))
    assert words(whole) == [["eins", "zwei", "</s>", "three", "</s>", "vier", "</s>"]]


def test_words_are_not_hidden_without_a_mask_token(data: MultilingualText) -> None:
    engine = Tokenizer.from_file(str(data.vocabulary))
    engine.model = models.WordLevel({word: number for number, word in enumerate(WORDS) if word != "<mask>"}, "<unk>")
    engine.save(str(data.vocabulary))
    with pytest.raises(UserError, match=r"^a mask token is needed, but the tokenizer has none"):
        built(data, "masked-tokens", "xlm-15")


def test_a_text_that_ends_with_its_first_token_has_one(data: MultilingualText) -> None:
    with pytest.raises(UserError, match=r"^denoising ends a text with the code of its language or with its first tok"):
        built(data, "denoising")


@pytest.mark.parametrize(
    ("recipe", "source", "target"),
    [
        ("mbart-large-cc25", ["eins", "zwei", "</s>", "de_DE"], ["en_XX", "one", "two", "</s>", "en_XX"]),
        ("mbart-large-50", ["de_DE", "eins", "zwei", "</s>"], ["</s>", "en_XX", "one", "two", "</s>"]),
        ("mass", ["<s>", "eins", "zwei", "</s>"], ["<s>", "one", "two", "</s>"]),
    ],
)
def test_codes_of_languages_stand_where_their_family_has_them(
    data: MultilingualText, recipe: str, source: list[str], target: list[str]
) -> None:
    pieces = ["<pad>", "<unk>", "<s>", "</s>", "<mask>", "de_DE", "en_XX", *WORDS[4:]]
    engine = Tokenizer(models.WordLevel({word: number for number, word in enumerate(pieces)}, unk_token="<unk>"))
    engine.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    engine.save(str(data.vocabulary))
    found = built(data, "next-tokens", recipe).training
    inputs = found.batch([0], seeded(0)).by_name["next-tokens"].inputs
    assert [pieces[token] for token in inputs.text.ids.tolist()] == source
    assert [pieces[token] for token in inputs.target.ids.tolist()] == target
    assert found.length(0) == len(source) + len(target) == found.lengths[0]
    assert (set(inputs.text.languages.tolist()), set(inputs.target.languages.tolist())) == ({0}, {1})
