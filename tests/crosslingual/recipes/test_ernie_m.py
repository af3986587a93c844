"""ERNIE-M: what it refuses."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import mm_kptm
from mm_kptm.errors import UserError

SMALL = {"dim": 8, "num_heads": 2, "num_layers": 2, "ffn_dim": 12, "vocab_size": 30, "max_positions": 20}


def test_a_configuration_that_asks_for_more_is_refused(tmp_path: Path) -> None:
    save_file({"embeddings.word_embeddings.weight": torch.zeros(5, 8)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"act_dropout": 0.1}))
    with pytest.raises(UserError, match=r"act_dropout=0\.1, but ernie-m is built with act_dropout=0 or 0\.0 only"):
        mm_kptm.load("ernie-m", tmp_path)
