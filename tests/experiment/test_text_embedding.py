"""Vectors of texts come from runs and saved models, whatever stands beside a text in its batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer as Engine
from tokenizers import models, pre_tokenizers

import mm_kptm
from mm_kptm import experiment
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.datasets.text.xnli import XnliData
from mm_kptm.errors import UserError
from mm_kptm.experiment.settings import EncoderSettings, Experiment
from mm_kptm.experiment.text_embedding import text_vectors
from mm_kptm.train.settings import TrainSettings

SIZES = {"dim": 16, "num_layers": 1, "num_heads": 2, "ffn_dim": 32}
PIECES = (*BERT_SPECIALS, "rain", "wet", "dry")
TEXTS = ["rain", "", "wet wet dry", "rain " * 300, "wet \ud83d"]


def saved(folder: Path, recipe: str = "bert-base", **sizes: int) -> Path:
    mm_kptm.save(mm_kptm.build(recipe, heads=(), seed=0, **{**SIZES, "vocab_size": 20, **sizes}), folder)
    return folder


def test_a_vector_is_the_mean_state_of_its_text_alone(tmp_path):
    folder = saved(tmp_path)
    (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n")
    vectors = text_vectors(folder)
    together = vectors(TEXTS)
    for text, row in zip(TEXTS, together, strict=True):
        torch.testing.assert_close(vectors([text])[0], row)
    system = mm_kptm.load(str(folder))
    with torch.no_grad():
        states = system(Inputs(text=Tokens.of([[2, 6, 6, 7, 3]]))).text
    torch.testing.assert_close(together[2], states.mean(0))
    assert vectors([]).shape == (0, 16)


def test_capitals_in_a_vocabulary_are_kept_in_texts(tmp_path):
    folder = saved(tmp_path)
    for pieces, same in ((PIECES, True), ((*PIECES, "Rain"), False)):
        (folder / "vocab.txt").write_text("\n".join(pieces) + "\n")
        small, capital = text_vectors(folder)(["rain", "Rain"])
        assert torch.equal(small, capital) == same


def test_a_tokenizer_of_the_library_lies_beside_a_model(tmp_path):
    folder = saved(tmp_path)
    engine = Engine(models.WordLevel({piece: number for number, piece in enumerate(PIECES)}, "[UNK]"))
    engine.pre_tokenizer = pre_tokenizers.Whitespace()
    engine.save(str(folder / "tokenizer.json"))
    with_library = text_vectors(folder)(TEXTS)
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n")
    assert torch.equal(with_library, text_vectors(folder)(TEXTS))


def test_a_run_reads_texts_with_its_own_pieces(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(PIECES))
    (tmp_path / "train-en.tsv").write_text("rain\twet\tentailment\nrain\tdry\tcontradiction\n")
    data = XnliData(name="xnli", vocabulary=tmp_path / "vocab.txt", train=tmp_path / "train-en.tsv", max_length=16)
    encoder = EncoderSettings("bert-base", sizes={**SIZES, "max_positions": 24})
    settings = Experiment("tiny", encoder, data, "entailment", train=TrainSettings(steps=1), out=tmp_path)
    built = experiment.train(settings, settings.folder, progress=False)
    vectors = text_vectors(settings.folder)
    built.system.eval()
    with torch.no_grad():
        states = built.system(Inputs(text=Tokens.of([[2, 5, 6, 3]]))).text
    torch.testing.assert_close(vectors(["rain wet", "dry " * 30])[0], states.mean(0))


def test_what_does_not_read_text_alone_is_refused(tmp_path):
    with pytest.raises(
        UserError, match="is no encoder of texts: neither a run folder nor a saved model with the tokenizer"
    ):
        text_vectors(tmp_path)
    folder = saved(tmp_path, "uniter-base")
    (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n")
    with pytest.raises(
        UserError, match="holds uniter-base, which reads regions, text; an encoder that reads text alone"
    ):
        text_vectors(folder)
