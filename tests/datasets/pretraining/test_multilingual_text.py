"""Own sentences and translations pretrain cross-lingual systems."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from mm_kptm.data.sampler import seeded
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.datasets.pretraining.multilingual_text import MultilingualText
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import Built, build
from mm_kptm.experiment.settings import EncoderSettings, Experiment
from mm_kptm.train.protocol import lengths_of

TEXTS = {"de": "eins zwei\ndrei\nvier", "en": "one two\nthree\nfour", "fr": "un deux\ntrois\nquatre"}
WORDS = " ".join(TEXTS.values()).split()
IDS = {word: len(BERT_SPECIALS) + place for place, word in enumerate(WORDS)}
SIZES = {"dim": 8, "num_heads": 2, "num_layers": 1, "max_positions": 24, "dropout": 0.0}


@pytest.fixture
def data(tmp_path: Path) -> MultilingualText:
    for language, text in TEXTS.items():
        (tmp_path / f"ted.{language}").write_text(f"{text}\n")
    (tmp_path / "news.en").write_text("four\n" * 12)
    (tmp_path / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, *WORDS]) + "\n")
    return MultilingualText(
        name="multilingual-text",
        vocabulary=tmp_path / "vocab.txt",
        train={"de-en-fr": tmp_path / "ted"},
        dev={"en": tmp_path / "news"},
        max_length=16,
    )


def built(data: MultilingualText, *objectives: str, recipe: str = "xlm-15") -> Built:
    encoder = EncoderSettings(recipe, SIZES)
    return build(Experiment("own", encoder, data, objectives=dict.fromkeys(objectives, 1.0)))


def test_every_two_of_three_languages_stand_side_by_side_in_both_orders(data: MultilingualText) -> None:
    source = built(replace(data, languages=("de", "en", "fr")), "translation-language-modeling").training
    batch = source.batch(range(len(source)), seeded(0)).by_name["translation-language-modeling"]
    text = batch.inputs.text
    whole = text.ids.index_copy(0, batch.rows, batch.labels)
    assert len(source) == 3 * 6
    rows = {
        (tuple(ids.tolist()), tuple(places.tolist()), tuple(spoken.tolist()))
        for ids, places, spoken in zip(*map(text.layout.split, (whole, text.positions, text.languages)), strict=True)
    }
    pair = [2, IDS["drei"], 3, 2, IDS["trois"], 3]
    assert (tuple(pair), (0, 1, 2, 0, 1, 2), (0, 0, 0, 2, 2, 2)) in rows
    assert ((*pair[3:], *pair[:3]), (0, 1, 2, 0, 1, 2), (2, 2, 2, 0, 0, 0)) in rows
    assert len(rows) == 18


def test_several_corpora_of_the_same_languages_are_a_list(data: MultilingualText, tmp_path: Path) -> None:
    for language, text in {"de": "vier", "en": "four"}.items():
        (tmp_path / f"books.{language}").write_text(f"{text}\n" * 2)
    one = replace(data, train={"de-en": data.train["de-en-fr"]})
    two = replace(data, train={"de-en": (tmp_path / "ted", tmp_path / "books")})
    assert len(built(one, "translation-language-modeling").training) == 2 * 3
    assert len(built(two, "translation-language-modeling").training) == 2 * (3 + 2)
    assert set(two.fingerprints) - set(one.fingerprints) == {"train.de-en.1.de", "train.de-en.1.en"}


def test_languages_have_the_ids_of_the_settings(data: MultilingualText) -> None:
    source = built(replace(data, languages=("fr", "xx", "en", "de")), "masked-tokens").training
    text = source.batch([0, 1, 2], seeded(0)).by_name["masked-tokens"].inputs.text
    assert sorted(text.languages[text.layout.starts(text.ids.device)].tolist()) == [0, 2, 3]
    model = built(replace(data, languages=("fr", "xx", "en", "de")), "masked-tokens").system
    assert model.encoder.embed.text.language.num_embeddings == 4


def test_a_translation_is_written_by_a_system_that_has_a_decoder(data: MultilingualText) -> None:
    source = built(data, "next-tokens", recipe="xlm-mt").training
    batch = source.batch(range(len(source)), seeded(0)).by_name["next-tokens"]
    read, write = batch.inputs.text, batch.inputs.target
    pairs = {
        (int(a[1]), int(b[1])) for a, b in zip(read.layout.split(read.ids), write.layout.split(write.ids), strict=True)
    }
    assert (IDS["four"], IDS["vier"]) in pairs and len(pairs) == 18
    assert write.languages is not None and batch.labels[0] == write.ids[1]


@pytest.mark.parametrize(
    ("objective", "recipe"),
    [("masked-tokens", "xlm-15"), ("translation-language-modeling", "xlm-15"), ("next-tokens", "xlm-mt")],
)
def test_a_token_store_gives_the_same_batches(
    objective: str, recipe: str, data: MultilingualText, tmp_path: Path
) -> None:
    (tmp_path / "ted.fr").write_text("un deux\n \nquatre\n")
    kept = replace(data, train={"de-en-fr": tmp_path / "ted", "en": tmp_path / "news"}, max_length=8)
    batches = []
    for settings in (kept, replace(kept, token_store=tmp_path / "store")):
        source = built(settings, objective, recipe=recipe).training
        batch = source.batch(range(len(source)), seeded(0)).by_name[objective]
        batches.append((batch.inputs.text.ids.tolist(), batch.inputs.text.languages.tolist(), batch.labels.tolist()))
        lengths = [source.length(number) for number in range(len(source))]
        assert lengths_of(source).tolist() == lengths
        written = [] if batch.inputs.target is None else batch.inputs.target.layout.lengths
        assert sum(lengths) == len(batches[-1][0]) + sum(written)
    assert batches[0] == batches[1]
    dropped = json.loads((tmp_path / "store" / "train" / "store.json").read_text())["dropped"]
    assert dropped == {"lines without a sentence in each of their languages": 1}
    assert not (tmp_path / "store" / "dev").exists(), "built where it is read"


def test_shares_of_languages_are_those_of_the_settings(data: MultilingualText, tmp_path: Path) -> None:
    train = {"en": tmp_path / "news", "de": tmp_path / "ted"}

    def spoken(sampling: float | None) -> Counter[int]:
        source = built(
            replace(data, train=train, language_sampling=sampling, languages=("de", "en")), "masked-tokens"
        ).training
        text = source.batch(range(len(source)), seeded(0)).by_name["masked-tokens"].inputs.text
        return Counter(text.languages[text.layout.starts(text.ids.device)].tolist())

    (tmp_path / "news.en").write_text("four\n" * 900)
    (tmp_path / "ted.de").write_text("drei\n" * 100)
    assert spoken(None) == {1: 900, 0: 100}
    assert abs(spoken(0.5)[0] / 1000 - 0.25) < 0.04, "0.1^0.5 against 0.9^0.5"
    assert abs(spoken(0.0)[0] / 1000 - 0.5) < 0.05
    assert spoken(0.5) == spoken(0.5)


def test_long_translations_are_cut_to_fit_and_dev_reads_every_sentence_once(
    data: MultilingualText, tmp_path: Path
) -> None:
    (tmp_path / "ted.de").write_text("eins " * 30 + "\ndrei\nvier\n")
    source = built(data, "translation-language-modeling").training
    assert max(source.length(number) for number in range(len(source))) == 16
    sources = built(replace(data, language_sampling=0.7), "masked-tokens")
    assert len(sources.source("dev")) == 12


def test_a_split_without_translations_is_refused_where_they_are_read(data: MultilingualText) -> None:
    message = (
        r"^data.dev has en, none of them aligned; name translations such as de-en, or leave the objectives on "
        r"translations out$"
    )
    with pytest.raises(UserError, match=message):
        built(data, "translation-language-modeling").source("dev")
    lacking = r"^next-tokens of xlm-mt writes a target while it reads a source, but the data set multilingual-text does"
    with pytest.raises(UserError, match=lacking):
        built(replace(data, train=dict(data.dev or {})), "next-tokens", recipe="xlm-mt")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"train": {}}, r"^data.train is empty; name a language, or languages that are aligned, and their files$"),
        ({"train": {"de-de": Path("x")}}, r"^data.train names the languages 'de-de'; name each once, with a hyphen"),
        ({"languages": ("de", "en")}, r"^data.languages has no 'fr', which the files are in; it has de, en$"),
        ({"language_sampling": 1.5}, r"^data.language_sampling is 1.5 but must lie between 0 and 1$"),
        ({"mask_rate": 0.0}, r"^data.mask_rate is 0.0 but must be a share of the tokens, above 0 and below 1$"),
    ],
)
def test_settings_that_say_nothing_are_refused(
    changed: dict[str, object], message: str, data: MultilingualText
) -> None:
    with pytest.raises(UserError, match=message):
        replace(data, **changed)


def test_files_tell_data_from_others(data: MultilingualText, tmp_path: Path) -> None:
    before = data.fingerprints
    (tmp_path / "ted.fr").write_text("un\n")
    assert {name for name, digest in data.fingerprints.items() if digest != before[name]} == {"train.de-en-fr.fr"}
    assert len(before) == 5, "three languages of training, one of dev, and the vocabulary"


def test_documents_alternate_between_two_languages(data: MultilingualText) -> None:
    source = built(data, "cross-lingual-masked-tokens").training
    batch = source.batch(range(len(source)), seeded(0)).by_name["cross-lingual-masked-tokens"]
    text = batch.inputs.text
    whole = text.ids.index_copy(0, batch.rows, batch.labels)
    rows = {tuple(part.tolist()) for part in text.layout.split(whole)}
    assert len(rows) == 6, "every two languages, in both orders"
    assert (2, IDS["eins"], IDS["zwei"], 3, IDS["three"], 3, IDS["vier"], 3) in rows
    short = replace(data, max_length=8)
    source = built(replace(short, train={"de-en": data.train["de-en-fr"]}), "cross-lingual-masked-tokens").training
    assert len(source) == 2
    with pytest.raises(UserError, match="has en, none of them aligned"):
        built(replace(data, dev=data.dev), "cross-lingual-masked-tokens").source("dev")


@pytest.mark.parametrize(
    ("codes", "found"), [(["[de]", "[en]", "[fr]"], True), (["de_DE", "en_XX", "fr_FR"], True), (["de_DE"], False)]
)
def test_languages_have_codes_where_the_vocabulary_has_them(
    codes: list[str], found: bool, data: MultilingualText, tmp_path: Path
) -> None:
    vocabulary = tmp_path / "coded.txt"
    vocabulary.write_text("\n".join([*BERT_SPECIALS, *WORDS, *codes]) + "\n")
    source = built(replace(data, vocabulary=vocabulary), "denoising", recipe="xlm-mt").training
    target = source.batch([0, 1, 2], seeded(0)).by_name["denoising"].inputs.target
    firsts = target.ids[target.layout.starts(target.ids.device)].tolist()
    first = len(BERT_SPECIALS) + len(WORDS)
    assert firsts == ([first, first + 1, first + 2] if found else [2, 2, 2])


def test_shuffled_translations_are_those_of_other_lines(data: MultilingualText) -> None:
    said = {}
    for alignment in ("true", "shuffled"):
        settings = replace(data, alignment=alignment, train={"de-en": data.train["de-en-fr"]})
        source = built(settings, "translation-ranking").training
        batch = source.batch(range(len(source)), seeded(0)).by_name["translation-ranking"]
        sides = (side.layout.split(side.ids) for side in (batch.texts, batch.translations))
        said[alignment] = {(tuple(one.tolist()), tuple(other.tolist())) for one, other in zip(*sides, strict=True)}
    assert not said["true"] & said["shuffled"] and len(said["shuffled"]) == 6
    for side in (0, 1):
        assert {pair[side] for pair in said["true"]} == {pair[side] for pair in said["shuffled"]}


def test_translations_come_from_one_file_of_both_languages(data: MultilingualText, tmp_path: Path) -> None:
    (tmp_path / "memory.tsv").write_text("eins\tone\ndrei\tthree\n")
    settings = replace(data, train={"de-en": tmp_path / "memory.tsv"}, dev=None)
    assert len(built(settings, "translation-language-modeling").training) == 4
    assert set(settings.fingerprints) == {"train.de-en.de", "train.de-en.en", "vocabulary"}
