"""SpanBERT: the names in its released files, and an encoder that is BERT's."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.systems.assembly import parameters

SIZES = {"dim": 8, "num_heads": 2, "num_layers": 2, "ffn_dim": 12, "vocab_size": 30, "max_positions": 20}
INPUTS = Inputs(text=Tokens.of([[4, 9, 5], [7, 3]]))

LAYER = {
    "attention.self.query": "self_attention.attention.query",
    "attention.self.key": "self_attention.attention.key",
    "attention.self.value": "self_attention.attention.value",
    "attention.output.dense": "self_attention.attention.out_proj",
    "attention.output.LayerNorm": "self_attention.norm",
    "intermediate.dense": "ffn.up_proj",
    "output.dense": "ffn.down_proj",
    "output.LayerNorm": "ffn.norm",
}
PAIR = {
    "position_embeddings.weight": "place.weight",
    "mlp_layer_norm.linear1.weight": "scores.transform.0.dense.weight",
    "mlp_layer_norm.linear1.bias": "scores.transform.0.dense.bias",
    "mlp_layer_norm.layer_norm1.gamma": "scores.transform.0.norm.weight",
    "mlp_layer_norm.layer_norm1.beta": "scores.transform.0.norm.bias",
    "mlp_layer_norm.linear2.weight": "scores.transform.1.dense.weight",
    "mlp_layer_norm.linear2.bias": "scores.transform.1.dense.bias",
    "mlp_layer_norm.layer_norm2.gamma": "scores.transform.1.norm.weight",
    "mlp_layer_norm.layer_norm2.beta": "scores.transform.1.norm.bias",
    "bias": "scores.bias",
}


def encoder_names(ours: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The encoder's parameters as published, spelled out by hand."""
    theirs = {
        "embeddings.word_embeddings.weight": ours["encoder.embed.text.word.weight"],
        "embeddings.position_embeddings.weight": ours["encoder.embed.text.position.weight"],
        "embeddings.token_type_embeddings.weight": ours["encoder.embed.text.segment.weight"],
    }
    for leaf in ("weight", "bias"):
        theirs[f"embeddings.LayerNorm.{leaf}"] = ours[f"encoder.embed.text.norm.{leaf}"]
        for number in range(2):
            for name, place in LAYER.items():
                theirs[f"encoder.layer.{number}.{name}.{leaf}"] = ours[f"encoder.layers.{number}.{place}.{leaf}"]
    return theirs


def random_system(seed: int) -> mm_kptm.systems.system.System:
    system = mm_kptm.build("spanbert-base", seed=seed, **SIZES)
    draw = torch.Generator().manual_seed(seed)
    for parameter in system.parameters():
        torch.nn.init.normal_(parameter, generator=draw)
    return system


def test_the_file_for_hugging_face_holds_the_encoder(tmp_path: Path) -> None:
    system = random_system(1)
    theirs = {f"bert.{name}": tensor.clone() for name, tensor in encoder_names(parameters(system)).items()}
    save_file(theirs, tmp_path / "model.safetensors")
    back = mm_kptm.load("spanbert", tmp_path / "model.safetensors", num_layers=2, num_heads=2, dim=8, ffn_dim=12)
    assert not back.heads
    torch.testing.assert_close(back(INPUTS).text, system(INPUTS).text)
    torch.testing.assert_close(back(INPUTS).pooled, system(INPUTS).text[[0, 3]])  # no pooler was trained


@pytest.mark.parametrize("tied", [True, False])
def test_the_file_of_the_trainer_holds_both_heads(tied: bool, tmp_path: Path) -> None:
    system = random_system(2)
    ours = parameters(system)
    theirs = {f"decoder.bert.{name}": tensor for name, tensor in encoder_names(ours).items()}
    theirs |= {
        f"decoder.cls.pair_target_predictions.{name}": ours[f"heads.span-boundary.{place}"]
        for name, place in PAIR.items()
    }
    for leaf in ("weight", "bias"):
        for name, place in {"dense": "dense", "LayerNorm": "norm"}.items():
            tensor = ours[f"heads.masked-tokens.transform.{place}.{leaf}"]
            theirs[f"decoder.cls.predictions.transform.{name}.{leaf}"] = tensor
    theirs["decoder.cls.predictions.bias"] = ours["heads.masked-tokens.bias"]
    if tied:
        for head in ("predictions", "pair_target_predictions"):
            theirs[f"decoder.cls.{head}.decoder.weight"] = ours["encoder.embed.text.word.weight"]
    save_file({name: tensor.clone() for name, tensor in theirs.items()}, tmp_path / "model.safetensors")
    back = mm_kptm.load("spanbert", tmp_path / "model.safetensors", num_layers=2, num_heads=2, dim=8, ffn_dim=12)
    assert all(torch.equal(tensor, ours[name]) for name, tensor in parameters(back).items())
    assert parameters(back).keys() == ours.keys()


def test_the_encoder_is_berts() -> None:
    """The same weights in BERT give the same states."""
    system, bert = random_system(3), mm_kptm.build("bert-base", seed=0, heads=(), **SIZES)
    weights = {name: tensor for name, tensor in parameters(system).items() if name.startswith("encoder.")}
    assert not bert.load_state_dict(weights, strict=False).unexpected_keys
    torch.testing.assert_close(bert(INPUTS).text, system(INPUTS).text)


def test_the_boundary_head_is_the_papers() -> None:
    """Its two equations, from the published names: left, right, place; gelu; norm; twice."""
    system, draw = random_system(4), torch.Generator().manual_seed(4)
    ours = parameters(system)
    theirs = {name: ours[f"heads.span-boundary.{place}"] for name, place in PAIR.items()}
    left, right = torch.randn(2, 3, 8, generator=draw)
    places = torch.tensor([0, 5, 19])
    rows = torch.cat([left, right, theirs["position_embeddings.weight"][places]], -1)
    for number in ("1", "2"):
        mlp = "mlp_layer_norm."
        rows = rows @ theirs[f"{mlp}linear{number}.weight"].T + theirs[f"{mlp}linear{number}.bias"]
        rows = 0.5 * rows * (1 + torch.erf(rows / 2**0.5))
        rows = (rows - rows.mean(-1, keepdim=True)) / (rows.var(-1, correction=0, keepdim=True) + 1e-12).sqrt()
        rows = rows * theirs[f"{mlp}layer_norm{number}.gamma"] + theirs[f"{mlp}layer_norm{number}.beta"]
    expected = rows @ ours["encoder.embed.text.word.weight"].T + theirs["bias"]
    torch.testing.assert_close(system.head("span-boundary")(torch.cat([left, right], -1), places), expected)
