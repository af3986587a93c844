"""One command maps an encoder to the space of another, whose heads then read the other language (CLBT)."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import mm_kptm
from mm_kptm import cli, config
from mm_kptm.batch import OutputRows
from mm_kptm.crosslingual.alignment.contextual_maps import AttentionMap, FeedForwardMap, LinearMap, mean_cosine
from mm_kptm.crosslingual.alignment.fitting import AlignedVectors, fit
from mm_kptm.crosslingual.recipes.clbt import mapping_of
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.errors import UserError
from mm_kptm.experiment import evaluate, train
from mm_kptm.experiment.settings import Experiment
from mm_kptm.systems.assembly import add
from mm_kptm.systems.system import System

SIZES = {"num_layers": 1, "dim": 16, "num_heads": 2, "ffn_dim": 32, "max_positions": 24, "dropout": 0.0}
ENGLISH = ["red", "blue", "house", "dog", "runs", "sleeps"]
GERMAN = ["rot", "blau", "haus", "hund", "rennt", "ruht"]
TAGS = {"red": "ADJ", "blue": "ADJ", "house": "NOUN", "dog": "NOUN", "runs": "VERB", "sleeps": "VERB"}


def sentences(words: list[str]) -> list[list[str]]:
    return [[words[(n + k * k) % 6] for k in range(2 + n % 4)] for n in range(48)]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An English tagger, a German encoder that is the same but for its words and a turn of its states, and bitext."""
    for language, words in (("en", ENGLISH), ("de", GERMAN)):
        (tmp_path / f"vocab.{language}.txt").write_text("\n".join([*BERT_SPECIALS, *words]) + "\n", encoding="utf-8")
        said = sentences(words)
        (tmp_path / f"ted.{language}").write_text("".join(" ".join(one) + "\n" for one in said), encoding="utf-8")
        tags = dict(zip(words, TAGS.values(), strict=True))
        lines = [line for one in said for line in (*(f"{word}\t{tags[word]}" for word in one), "")]
        (tmp_path / f"test-{language}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    settings = tagging(tmp_path, "en", steps=40)
    train(settings, settings.folder, progress=False)
    german = mm_kptm.load(str(settings.folder), heads=[])
    *_, norm = (module for module in german.encoder.layers[-1].modules() if isinstance(module, torch.nn.LayerNorm))
    with torch.no_grad():
        for parameter in (norm.weight, norm.bias):
            parameter[::2] *= -1  # every second dim of its states is turned round
    german.tokenizer = replace(german.tokenizer, source=tmp_path / "vocab.de.txt")
    mm_kptm.save(german, tmp_path / "german")
    return tmp_path


def tagging(home: Path, language: str, *, steps: int, weights: Path | None = None) -> Experiment:
    file = home / f"{language}.yaml"
    tests = {"train": str(home / "test-en.tsv"), "test": str(home / f"test-{language}.tsv")}
    encoder: dict[str, object] = {"recipe": "mbert-base", "sizes": SIZES}
    if weights is not None:
        encoder = {"recipe": "mbert-base", "weights": str(weights)}
        encoder |= {"added": {"contextual-map": {}}} if weights.name == "mapped" else {}
    data = {"name": "ud-pos", "vocabulary": str(home / f"vocab.{language}.txt"), "max_length": 16, **tests}
    shown = {"name": f"tags-{language}", "task": "parts-of-speech", "encoder": encoder, "data": data}
    training = {"steps": steps, "batch_size": 16, "lr": 1e-2}
    file.write_text(json.dumps({**shown, "train": training, "out": str(home / "runs")}))
    return config.read(Experiment, file)


def test_a_tagger_of_english_reads_german_behind_the_map(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    german, english = str(home / "german"), str(home / "runs" / "tags-en")
    shared = ["align", german, english, "--bitext", str(home / "ted"), "--languages", "de-en"]
    assert cli.main([*shared, "--pieces", str(home / "pieces.txt")]) == 0
    assert (home / "pieces.txt").read_text(encoding="utf-8").splitlines()[0] == "rot blau ||| red blue"
    lines = [" ".join(f"{k}-{k}" for k in range(len(one))) for one in sentences(GERMAN)]
    (home / "ted.align").write_text("\n".join(lines) + "\n")
    capsys.readouterr()
    fitted = [*shared, "--alignments", str(home / "ted.align"), "--json"]
    assert cli.main([*fitted, "--out", str(home / "mapped")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["pairs of pieces"] == sum(map(len, sentences(GERMAN))) and told["cosine"] > 0.999
    assert told["cosine before"] < 0.5
    alone = tagging(home, "de", steps=0, weights=home / "german")
    before = evaluate_untrained(alone)
    behind = evaluate_untrained(tagging(home, "de", steps=0, weights=home / "mapped"))
    assert evaluate(Path(english))["tag-accuracy"] == 1.0
    assert behind == 1.0 > before
    assert cli.main([*fitted, "--method", "feed-forward", "--epochs", "2", "--out", str(home / "deep")]) == 0
    assert isinstance(mapping_of(mm_kptm.load(str(home / "deep"))), FeedForwardMap)
    capsys.readouterr()
    attentive = [*fitted, "--method", "linear-self-attention", "--epochs", "30", "--out", str(home / "attentive")]
    assert cli.main(attentive) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["cosine"] > 0.8 > told["cosine before"]
    loaded = mm_kptm.load(str(home / "attentive"))
    assert isinstance(mapping_of(loaded), AttentionMap)
    inputs = loaded.tokenizer(["rot hund rennt", "blau"])
    every = loaded(inputs).text
    some = loaded(inputs, OutputRows({"text": torch.tensor([2, 6])})).text
    torch.testing.assert_close(some, every[[2, 6]])
    assert cli.main([*fitted, "--out", str(home / "mapped")]) == 2
    assert cli.main([*fitted, "--languages", "de-de", "--out", str(home / "other")]) == 2
    assert "--languages is 'de-de'; name two, that of SOURCE first, as in de-en" in capsys.readouterr().err
    assert cli.main([*fitted, "--out", str(home / "mapped")]) == 2
    (home / "ted.align").write_text("0-0\n")
    assert cli.main([*fitted, "--out", str(home / "other")]) == 2
    said = capsys.readouterr().err
    assert "mapped exists already; name a folder that does not" in said
    assert "there are 48 sentence pairs, but " in said and "ted.align has 1 lines; align the pieces of" in said
    (home / "ted.align").write_text("0-0\n" * 47 + "0-0 x\n")
    assert cli.main([*fitted, "--out", str(home / "other")]) == 2
    assert "ted.align, line 48, the alignment '0-0 x' holds 'x', which is no pair; i-j" in capsys.readouterr().err


def evaluate_untrained(settings: Experiment) -> float:
    train(settings, settings.folder, progress=False, overwrite=True)
    return float(evaluate(settings.folder)["tag-accuracy"])


def vectors(rotation: Tensor | None = None) -> AlignedVectors:
    draws = torch.Generator().manual_seed(0)
    source = torch.randn(60, 6, generator=draws)
    turned = source if rotation is None else source @ rotation.T
    return AlignedVectors(source, turned, (20, 0, 40))


@pytest.mark.parametrize("loss", ["squared-distance", "cosine", "margin"])
def test_a_map_is_found_by_gradient_and_the_best_epoch_is_kept(loss: str) -> None:
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(1))).Q
    aligned = vectors(rotation)
    found = fit(LinearMap(6), aligned, method="gradient", loss=loss, normalise=loss != "squared-distance", epochs=200)
    assert mean_cosine(found(aligned.source), aligned.target) > 0.95
    exact = fit(LinearMap(6), aligned, method="procrustes")
    torch.testing.assert_close(exact.weight, rotation, atol=1e-5, rtol=0)
    with pytest.raises(UserError, match=r"reads whole sentences, but only vectors of aligned pieces were kept"):
        fit(AttentionMap(6, num_heads=2), aligned, method="gradient", epochs=1)
    with pytest.raises(UserError, match=r"Procrustes gives a linear map; take the gradient for another"):
        fit(FeedForwardMap(6, hidden_dim=6), aligned, method="procrustes")


def system(**sizes: int) -> System:
    return mm_kptm.build("mbert-base", heads=[], seed=0, vocab_size=11, **{**SIZES, **sizes})


def test_what_cannot_be_aligned_is_named(home: Path) -> None:
    one, other = mm_kptm.load(str(home / "german")), mm_kptm.load(str(home / "runs" / "tags-en"))
    pair = [("rot hund", "red dog")]
    with pytest.raises(UserError, match=r"the alignments, line 1 names piece 2 of 'rot hund', which has 2 pieces"):
        AlignedVectors.of(one, other, pair, ["2-0"], languages=("de", "en"))
    with pytest.raises(UserError, match=r"no aligned pair of pieces is left of the alignments"):
        AlignedVectors.of(one, other, pair, [""], languages=("de", "en"))
    wide = system(dim=32)
    wide.tokenizer = one.tokenizer
    with pytest.raises(UserError, match=r"states of 32 dims cannot be mapped to 16; take encoders of one width"):
        AlignedVectors.of(wide, other, pair, ["0-0"], languages=("de", "en"))
    with pytest.raises(UserError, match=r"a contextual map is one of linear, feed-forward, .*, not 'cubic'"):
        add(system(), "contextual-map", {"kind": "cubic"})
    with pytest.raises(UserError, match=r"this mbert-base has no contextual map; `mm-kptm align` adds one"):
        mapping_of(one)
