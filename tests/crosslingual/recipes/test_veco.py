"""VECO: what is plugged in where, and which decoder layers are kept."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.crosslingual.recipes.veco import keep_decoder_layers
from mm_kptm.errors import UserError

SMALL = {
    "dim": 8,
    "num_heads": 2,
    "num_layers": 2,
    "ffn_dim": 12,
    "vocab_size": 30,
    "max_positions": 20,
    "dropout": 0.0,
}


def built() -> Any:
    return mm_kptm.build("veco", seed=0, **SMALL)


def inputs() -> Inputs:
    return Inputs(text=Tokens.of([[0, 5, 6, 2], [0, 7, 2]]), target=Tokens.of([[0, 8, 2], [0, 8, 9, 10, 2]]))


@torch.no_grad()
def test_left_out_the_cross_attention_is_not_read() -> None:
    system = built()
    alone = Inputs(text=inputs().text)
    before, plugged = system(alone).text, system(inputs()).text
    torch.testing.assert_close(before, system.encoder.both(inputs()).alone[0])
    for layer in system.encoder.layers:
        layer.cross_attention.attention.value.weight.normal_()
    torch.testing.assert_close(system(alone).text, before)
    assert not torch.allclose(system(inputs()).text, plugged)


def test_kept_layers_are_numbered_anew_and_nothing_else_is() -> None:
    tensors = {f"decoder.layers.{n}.fc{k}.weight": torch.tensor([n, k]) for n in range(4) for k in (1, 2)}
    kept = keep_decoder_layers({**tensors, "encoder.layers.1.fc1.weight": torch.zeros(1)}, [2, 1])
    assert set(kept) == {
        "encoder.layers.1.fc1.weight",
        *(f"decoder.layers.{n}.fc{k}.weight" for n in (0, 1) for k in (1, 2)),
    }
    assert kept["decoder.layers.0.fc2.weight"].tolist() == [2, 2]
    assert kept["decoder.layers.1.fc1.weight"].tolist() == [1, 1]
    with pytest.raises(UserError, match=r"decoder layers \[1, 9\] are kept"):
        keep_decoder_layers(tensors, [1, 9])
    with pytest.raises(UserError, match=r"decoder layers \[1, 1\] are kept"):
        keep_decoder_layers(tensors, [1, 1])


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"encoder_normalize_before": True}, "encoder_normalize_before=True"),
        ({"layernorm_embedding": False}, "layernorm_embedding=False"),
        ({"embed_dim": 16, "embed_scale": 3.0}, "embed_scale=3.0"),
    ],
)
def test_a_configuration_that_asks_for_more_is_refused(config: dict[str, Any], field: str, tmp_path: Path) -> None:
    save_file({"encoder.embed_tokens.weight": torch.zeros(5, 8)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    for name in ("veco", "veco-nmt"):
        with pytest.raises(UserError, match=f"the configuration says {field}, but veco is built with"):
            mm_kptm.load(name, tmp_path)
