import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import mm_kptm
from mm_kptm.batch import POOLED_ONLY, Inputs
from mm_kptm.errors import UserError
from mm_kptm.knowledge.embedding.entity_table import EntityTable
from mm_kptm.systems.keymap import UnmappedKeys

SMALL: dict[str, Any] = {"dim": 16, "num_heads": 2, "num_layers": 3, "ffn_dim": 24, "vocab_size": 40}
OFFICIAL = Path(__file__).parents[2] / "golden/data/ernie_thu/pretrain_tiny"


def given(width: int = 100) -> Inputs:
    table = EntityTable({}, torch.randn(9, width, generator=torch.Generator().manual_seed(0)))
    return table.inputs([[1, 5, 6, 2], [1, 7, 2]], [[-1, 3, -1, -1], [-1, 8, -1]])


def test_the_released_model_has_its_published_size() -> None:
    with torch.device("meta"):
        system = mm_kptm.build("ernie-thu-base", heads=())
    kinds = [system.encoder.fusions[str(i)].self_attention is not None for i in range(5, 12)]  # type: ignore[index, union-attr]
    assert kinds == [False] + [True] * 6
    count = sum(parameter.numel() for parameter in system.parameters())
    bert = 109_482_240
    fused = 7 * (100 * 3072 + 3072 + 3072 * 100 + 100 + 2 * 100) + 6 * (4 * (100 * 100 + 100) + 2 * 100)
    assert count == bert + fused


def test_missing_layer_types_are_plain_layers() -> None:
    system = mm_kptm.build("ernie_thu", heads=(), layer_types=["mix"], **SMALL)
    assert list(system.encoder.fusions) == ["0"]  # type: ignore[arg-type]


def test_a_bert_checkpoint_starts_it(tmp_path: Path) -> None:
    """The released model began as BERT: all but the fusions and their head is filled."""
    weights = load_file(OFFICIAL / "weights.safetensors")
    plain = {name: tensor for name, tensor in weights.items() if "_ent." not in name}
    assert len(plain) < len(weights)
    save_file(plain, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text((OFFICIAL / "config.json").read_text())
    with pytest.raises(UnmappedKeys, match=r"nothing fills our parameters: encoder.fusions.1"):
        mm_kptm.load("ernie_thu", tmp_path)
    system = mm_kptm.load("ernie_thu", tmp_path, fresh=("encoder.fusions.",), seed=0)
    filled = dict(system.named_parameters())["encoder.layers.1.ffn.up_proj.weight"]
    assert torch.equal(filled, weights["bert.encoder.layer.1.intermediate.dense.weight"])


def test_a_fine_tuned_typing_model_is_loaded_without_the_pretraining_heads(tmp_path: Path) -> None:
    weights = load_file(OFFICIAL / "weights.safetensors") | load_file(OFFICIAL / "weights_typing_head.safetensors")
    save_file({n: t for n, t in weights.items() if not n.startswith("cls.")}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text((OFFICIAL / "config.json").read_text())
    system = mm_kptm.load("ernie_thu", tmp_path, heads={"entity-typing": {"num_classes": 6}})
    assert list(system.heads) == ["entity-typing"]
    with torch.no_grad():
        assert system.head("entity-typing")(system(given(), POOLED_ONLY).pooled).shape == (2, 6)  # type: ignore[operator]


def test_a_saved_system_answers_alike(tmp_path: Path) -> None:
    system = mm_kptm.build(
        "ernie_thu", seed=0, **SMALL, entity_dim=8, entity_heads=2, layer_types=["norm", "sim", "mix"]
    )
    mm_kptm.save(system, tmp_path)
    again = mm_kptm.load(str(tmp_path))
    assert json.loads((tmp_path / "config.json").read_text())["sizes"]["layer_types"] == ["norm", "sim", "mix"]
    with torch.no_grad():
        assert torch.equal(system(given(8)).text, again(given(8)).text)


def test_vectors_of_another_width_are_said() -> None:
    with pytest.raises(UserError, match="the entity vectors are 8 wide, but this model reads entities of width 100"):
        mm_kptm.build("ernie_thu", heads=(), **SMALL)(given(8))


def test_pretraining_reaches_every_parameter_but_what_makes_the_last_entities() -> None:
    system = mm_kptm.build("ernie_thu", seed=0, **SMALL)
    encoded = system(given())
    candidates = torch.randn(4, 100)
    scores = [
        system.head("masked-tokens")(encoded.text),  # type: ignore[operator]
        system.head("entity-denoising")(encoded.text, candidates),  # type: ignore[operator]
        system.head("next-sentence")(encoded.pooled),  # type: ignore[operator]
    ]
    torch.stack([score.logsumexp(-1).sum() for score in scores]).sum().backward()
    unreached = {name for name, parameter in system.named_parameters() if parameter.grad is None}
    assert unreached == {
        f"encoder.fusions.2.fuse.entity_{part}" for part in ("out.weight", "out.bias", "norm.weight", "norm.bias")
    }
    assert all(not parameter.requires_grad for name, parameter in system.named_parameters() if name in unreached)
