"""ERNIE of Baidu: its names in Paddle's and in Hugging Face's files, and what tells it from BERT."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.systems import pretrained
from mm_kptm.systems.assembly import parameters
from mm_kptm.systems.system import System

SIZES: dict[str, Any] = {
    "dim": 8,
    "num_heads": 2,
    "num_layers": 2,
    "ffn_dim": 12,
    "vocab_size": 30,
    "max_positions": 20,
}
LINEAR = {
    "multi_head_att_query_fc": "self_attention.attention.query",
    "multi_head_att_key_fc": "self_attention.attention.key",
    "multi_head_att_value_fc": "self_attention.attention.value",
    "multi_head_att_output_fc": "self_attention.attention.out_proj",
    "ffn_fc_0": "ffn.up_proj",
    "ffn_fc_1": "ffn.down_proj",
}
NORMS = {"post_att_layer_norm": "self_attention.norm", "post_ffn_layer_norm": "ffn.norm"}


@pytest.fixture
def system() -> System:
    system = mm_kptm.build("ernie-baidu-base", seed=0, **SIZES)
    for parameter in system.parameters():
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(parameter.numel()))
    return system


def in_paddle(system: System) -> dict[str, torch.Tensor]:
    """The parameters as Baidu names and stores them, spelled out by hand."""
    ours = parameters(system)
    theirs: dict[str, torch.Tensor] = {}

    def linear(name: str, place: str) -> None:
        theirs[f"{name}.w_0"], theirs[f"{name}.b_0"] = ours[f"{place}.weight"].t(), ours[f"{place}.bias"]

    def norm(name: str, place: str) -> None:
        theirs[f"{name}_scale"], theirs[f"{name}_bias"] = ours[f"{place}.weight"], ours[f"{place}.bias"]

    for name, table in {"word": "word", "pos": "position", "sent": "segment"}.items():
        theirs[f"{name}_embedding"] = ours[f"encoder.embed.text.{table}.weight"]
    norm("pre_encoder_layer_norm", "encoder.embed.text.norm")
    for number in range(2):
        for name, place in LINEAR.items():
            linear(f"encoder_layer_{number}_{name}", f"encoder.layers.{number}.{place}")
        for name, place in NORMS.items():
            norm(f"encoder_layer_{number}_{name}", f"encoder.layers.{number}.{place}")
    linear("pooled_fc", "encoder.pooler.dense")
    linear("mask_lm_trans_fc", "heads.masked-tokens.transform.dense")
    norm("mask_lm_trans_layer_norm", "heads.masked-tokens.transform.norm")
    theirs["mask_lm_out_fc.b_0"] = ours["heads.masked-tokens.bias"]
    linear("next_sent_fc", "heads.next-sentence")
    return theirs


def test_paddle_files_load_with_their_matrices_turned(system: System, tmp_path: Path) -> None:
    file = tmp_path / "ernie.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in in_paddle(system).items()}, file)
    back = mm_kptm.load("ernie_baidu", file, num_heads=2, num_layers=2, dim=8, ffn_dim=12)
    theirs = parameters(back)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in parameters(system).items())


@pytest.mark.parametrize("beginning", ["ernie.", "bert."])
def test_converted_files_of_either_age_load(system: System, tmp_path: Path, beginning: str) -> None:
    pooler = {f"{beginning}pooler.dense.{leaf}": f"encoder.pooler.dense.{leaf}" for leaf in ("weight", "bias")}
    ours = parameters(system)
    file = tmp_path / "ernie.safetensors"
    save_file({theirs: ours[name] for theirs, name in pooler.items()}, file)
    translation = pretrained.translated("ernie_baidu", file)
    assert set(translation.tensors) == set(pooler.values()) and not translation.strangers


def test_a_text_beside_another_changes_nothing(system: System) -> None:
    alone, beside = ([4, 9, 5, 7],), ([4, 9, 5, 7], [3, 8])
    first, second = (system(Inputs(text=Tokens.of(texts))).text[:4] for texts in (alone, beside))
    torch.testing.assert_close(first, second)


def test_the_activation_is_relu_in_layers_and_head(system: System) -> None:
    assert system.encoder.layers[0].ffn.activation is torch.nn.functional.relu
    assert system.head("masked-tokens").transform.activation is torch.nn.functional.relu
    assert system.head("masked-tokens").transform.norm.eps == system.encoder.layers[1].ffn.norm.eps == 1e-5
