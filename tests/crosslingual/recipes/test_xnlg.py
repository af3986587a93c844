"""XNLG: writing under a vocabulary mask, and what it refuses."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.crosslingual.objectives.word_noise import WordDenoising, WordNoise
from mm_kptm.errors import UserError
from mm_kptm.models.generation import Writing, greedy
from mm_kptm.models.vocabulary_mask import restricted

SMALL = {"dim": 8, "num_heads": 2, "num_layers": 2, "num_decoder_layers": 1, "vocab_size": 20, "max_positions": 12}


def text() -> Tokens:
    return Tokens.of([[1, 6, 7, 8, 9, 1], [1, 10, 11, 1]], languages=[[0] * 6, [1] * 4])


def test_only_allowed_words_are_written() -> None:
    system = mm_kptm.build("xnlg", seed=0, **SMALL)
    allowed = torch.zeros(20, dtype=torch.bool)
    allowed[[1, 13, 14]] = True
    masked = restricted(system, allowed)
    written = greedy(masked, Inputs(text=text()), Writing(1, 1, 7, language=2))
    assert {token for one in written for token in one} <= {1, 13, 14}
    assert masked.head("next-tokens") is not system.head("next-tokens"), "the system itself is left as it is"
    assert masked.encoder is system.encoder
    with pytest.raises(UserError, match="cannot be written with no token allowed"):
        restricted(system, torch.zeros(20, dtype=torch.bool))


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not 1\.0, 0\.1 and 3\.0"):
        WordNoise(5, drop=1.0)
    with pytest.raises(UserError, match="needs inputs with a text and a generator"):
        WordDenoising(WordNoise(5)).prepare(Inputs(text=text()))
    save_file({"encoder.embeddings.weight": torch.zeros(5, 8)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"asm": True}))
    with pytest.raises(UserError, match="asm=True, but xnlg is built with asm=False"):
        mm_kptm.load("xnlg", tmp_path)
