"""WKLM starts from BERT."""

from pathlib import Path

import pytest
import torch

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.errors import UserError

SIZES = {"dim": 8, "num_heads": 2, "num_layers": 2, "ffn_dim": 12, "vocab_size": 30, "max_positions": 20}


def test_a_file_of_bert_fills_all_but_the_new_head(bert_file: Path) -> None:
    heads = ["masked-tokens", "entity-replacement"]
    with pytest.raises(UserError, match=r"nothing fills our parameters: heads.entity-replacement"):
        mm_kptm.load("wklm", bert_file, heads=heads)
    system = mm_kptm.load("wklm", bert_file, heads=heads, fresh=["heads.entity-replacement."])
    inputs = Inputs(text=Tokens.of([[4, 9, 5]]))
    bert = mm_kptm.load("bert", bert_file)
    assert torch.equal(system(inputs).text, bert(inputs).text)


@pytest.fixture
def bert_file(tmp_path: Path) -> Path:
    """Hugging Face's, of random weights."""
    from safetensors.torch import save_file
    from transformers import BertConfig, BertForPreTraining

    config = BertConfig(
        vocab_size=30,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=12,
        max_position_embeddings=20,
    )
    tensors = BertForPreTraining(config).state_dict()
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(config.to_json_string())
    return tmp_path
