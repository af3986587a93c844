"""Lexicons beside documents feed objectives of their own."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mm_kptm import cli, experiment
from mm_kptm.data.sampler import seeded
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.datasets.pretraining.documents import Documents
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import build
from mm_kptm.experiment.settings import EncoderSettings, Experiment
from mm_kptm.knowledge.graph.wordnet import FILES
from mm_kptm.knowledge.lexicons.ngrams import N_GRAMS
from mm_kptm.knowledge.objectives.masked_senses import MaskedSense
from mm_kptm.train import TrainSettings

TEXT = ["the horse saw a guitar", "a mare saw the horse", "", "the guitar saw an animal", "the instrument saw a mare"]
NOUNS = """00000001 05 n 02 horse 0 mare 0 001 @ 00000003 n 0000 | runs
00000002 06 n 01 guitar 0 001 @ 00000004 n 0000 | sounds
00000003 05 n 01 animal 0 000 | lives
00000004 06 n 01 instrument 0 000 | is played
"""
SIZES = {"dim": 16, "num_heads": 2, "num_layers": 1, "ffn_dim": 24}


@pytest.fixture
def data(tmp_path: Path) -> Documents:
    words = dict.fromkeys(" ".join(TEXT).split())
    (tmp_path / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, *words]) + "\n")
    (tmp_path / "train.txt").write_text("\n".join(TEXT) + "\n")
    (tmp_path / "wordnet").mkdir()
    for name in FILES:
        (tmp_path / "wordnet" / f"data.{name}").write_text(NOUNS if name == "noun" else "")
    vectors = [f"{word} {number % 3} {number % 2} 1" for number, word in enumerate(words)]
    (tmp_path / "words.vec").write_text("\n".join(vectors) + "\n")
    (tmp_path / "ngram.txt").write_text("the horse,9\nthe guitar,7\na mare,2\nsaw the horse,1\n")
    return Documents(
        name="documents",
        vocabulary=tmp_path / "vocab.txt",
        train=tmp_path / "train.txt",
        test=tmp_path / "train.txt",
        mask_rate=0.3,
        max_length=12,
        wordnet=tmp_path / "wordnet",
        vectors=tmp_path / "words.vec",
    )


def asked(data: Documents, recipe: str, *objectives: str, **sizes: int) -> Experiment:
    return Experiment(
        name=recipe,
        encoder=EncoderSettings(recipe, {**SIZES, **sizes}),
        data=data,
        objectives=dict.fromkeys(objectives, 1.0),
        train=TrainSettings(steps=3, batch_size=2),
    )


def test_words_mean_what_wordnet_says(data: Documents) -> None:
    built = build(asked(data, "sensebert-base", "masked-senses"))
    text = built.system.encoder.embed.text
    words = (data.vocabulary).read_text().split()
    meant = {word: row.nonzero().flatten().tolist() for word, row in zip(words, text.allowed, strict=True) if row.any()}
    assert meant == {"horse": [5], "guitar": [6], "mare": [5], "instrument": [6], "animal": [5]}
    batch = built.source("train").batch(range(3), seeded(1)).by_name["masked-senses"]
    assert isinstance(batch, MaskedSense) and torch.equal(batch.allowed, text.allowed[batch.labels])


def test_related_words_stand_beside_texts(data: Documents) -> None:
    built = build(asked(data, "libert-base", "masked-tokens", "lexical-relation"))
    batches = built.source("train").batch(range(3), seeded(0))
    assert sorted(batches.by_name) == ["lexical-relation", "masked-tokens"]
    judged = batches.by_name["lexical-relation"]
    assert len(judged) == 3 and (judged.classes == 0).sum() == 3 and (judged.classes == 1).any()
    assert built.model.loss(batches).isfinite()


def test_hidden_tokens_stand_among_ngrams(data: Documents, tmp_path: Path) -> None:
    settings = asked(replace(data, ngrams=tmp_path / "ngram.txt"), "zen-base", "masked-tokens", num_ngram_layers=1)
    built = build(settings)
    assert built.system.encoder.embed_ngrams.word.num_embeddings == 5
    batch = built.source("train").batch(range(3), seeded(0)).by_name["masked-tokens"]
    assert batch.inputs.candidates[N_GRAMS].entities.any()
    assert built.model.loss(built.source("train").batch(range(3), seeded(0))).isfinite()


@pytest.mark.parametrize(
    ("recipe", "objectives"),
    [
        ("sensebert-base", ("masked-senses",)),
        ("libert-base", ("lexical-relation", "masked-tokens")),
        ("zen-base", ("masked-tokens",)),
    ],
)
def test_a_run_trains_and_can_be_measured(
    data: Documents, tmp_path: Path, recipe: str, objectives: tuple[str, ...]
) -> None:
    settings = asked(data, recipe, *objectives)
    if recipe == "zen-base":
        settings = asked(replace(data, ngrams=tmp_path / "ngram.txt"), recipe, *objectives, num_ngram_layers=1)
    experiment.train(settings, tmp_path / "run", progress=False)
    measured = experiment.evaluate(tmp_path / "run", "test")
    assert set(objectives) <= measured.keys()


@pytest.mark.parametrize(
    ("recipe", "objective", "missing"),
    [
        ("sensebert-base", "masked-senses", "wordnet"),
        ("libert-base", "lexical-relation", "wordnet"),
        ("libert-base", "lexical-relation", "vectors"),
    ],
)
def test_a_lexicon_that_is_not_named_is_asked_for(data: Documents, recipe: str, objective: str, missing: str) -> None:
    with pytest.raises(UserError) as raised:
        build(asked(replace(data, **{missing: None}), recipe, objective))
    assert str(raised.value).startswith(f"{objective} needs ")
    assert f"as data.{missing}" in str(raised.value)


def test_a_system_that_predicts_no_supersense_is_refused(data: Documents) -> None:
    with pytest.raises(UserError, match=r"^bert-base has no head 'supersenses'; it has masked-tokens, next-sentence"):
        build(asked(data, "bert-base", "masked-senses"))


def test_lexicons_tell_data_from_others(data: Documents) -> None:
    """By what the files hold."""
    assert data.wordnet is not None
    names = {"vectors", *(f"wordnet.{name}" for name in FILES)}
    assert (
        names <= data.fingerprints.keys() and not names & replace(data, wordnet=None, vectors=None).fingerprints.keys()
    )
    before = data.fingerprints
    (data.wordnet / "data.noun").write_text(NOUNS.replace("runs", "trots"))
    assert {name for name, digest in data.fingerprints.items() if digest != before[name]} == {"wordnet.noun"}


def test_a_mistake_on_the_command_line_is_one_sentence(
    data: Documents, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "senses.yaml"
    file.write_text(
        f"name: senses\nobjectives: {{masked-senses: 1}}\nencoder: {{recipe: sensebert-base}}\n"
        f"data: {{name: documents, vocabulary: {data.vocabulary}, train: {data.train}}}\n"
    )
    assert cli.main(["train", str(file)]) == 2
    assert capsys.readouterr().err == (
        "mm-kptm: masked-senses needs supersenses of words, which the data set documents does not have; name a folder "
        "of WordNet's files as data.wordnet\n"
    )
