"""Systems from recipes, checkpoints and folders."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.errors import UserError
from mm_kptm.systems.keymap import UnmappedKeys
from mm_kptm.systems.system import System

SIZES: dict[str, Any] = {
    "dim": 8,
    "num_heads": 2,
    "num_layers": 2,
    "ffn_dim": 12,
    "vocab_size": 20,
    "max_positions": 16,
}
INPUTS = Inputs(text=Tokens.of([[3, 4, 5], [6]]))


def tiny(seed: int | None = 0, **more: Any) -> System:
    return mm_kptm.build("bert-base", seed=seed, **SIZES, **more)


def same(first: System, second: System) -> bool:
    theirs = dict(second.named_parameters())
    return all(torch.equal(parameter, theirs[name]) for name, parameter in first.named_parameters())


def published(system: System) -> dict[str, torch.Tensor]:
    """Our weights under the names that BERT was published with."""
    parts = {
        "encoder.embed.text.word": "bert.embeddings.word_embeddings",
        "encoder.embed.text.position": "bert.embeddings.position_embeddings",
        "encoder.embed.text.segment": "bert.embeddings.token_type_embeddings",
        "encoder.embed.text.norm": "bert.embeddings.LayerNorm",
        "encoder.pooler.dense": "bert.pooler.dense",
        "heads.masked-tokens.transform.dense": "cls.predictions.transform.dense",
        "heads.masked-tokens.transform.norm": "cls.predictions.transform.LayerNorm",
        "heads.masked-tokens": "cls.predictions",
        "heads.next-sentence": "cls.seq_relationship",
    }
    for i in range(system.sizes["num_layers"]):
        ours, theirs = f"encoder.layers.{i}", f"bert.encoder.layer.{i}"
        for role in ("query", "key", "value"):
            parts[f"{ours}.self_attention.attention.{role}"] = f"{theirs}.attention.self.{role}"
        parts |= {
            f"{ours}.self_attention.attention.out_proj": f"{theirs}.attention.output.dense",
            f"{ours}.self_attention.norm": f"{theirs}.attention.output.LayerNorm",
            f"{ours}.ffn.up_proj": f"{theirs}.intermediate.dense",
            f"{ours}.ffn.down_proj": f"{theirs}.output.dense",
            f"{ours}.ffn.norm": f"{theirs}.output.LayerNorm",
        }
    state = {}
    for name, parameter in system.named_parameters():
        part, _, leaf = name.rpartition(".")
        state[f"{parts[part]}.{leaf}"] = parameter.detach().clone()
    return state


def test_a_seed_gives_the_same_weights_and_leaves_torch_alone() -> None:
    before = torch.get_rng_state()
    first = tiny(7)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(123)
    assert same(first, tiny(7)) and not same(first, tiny(8))


def test_without_a_seed_torch_decides() -> None:
    torch.manual_seed(0)
    first, second = tiny(None), tiny(None)
    assert not same(first, second)


def test_a_system_is_built_for_evaluation() -> None:
    assert not tiny().training


def test_heads_can_be_chosen_and_sized() -> None:
    assert set(tiny().heads) == {"masked-tokens", "next-sentence"}
    assert set(tiny(heads=[]).heads) == set()
    sized = tiny(heads={"next-sentence": {"num_classes": 5}})
    assert sized.head("next-sentence").out_features == 5


def test_an_unknown_head_is_refused_with_those_that_exist() -> None:
    with pytest.raises(UserError, match=r"^bert-base has no head 'vqa'; it has masked-tokens, next-sentence, class"):
        tiny(heads=["vqa"])


@pytest.mark.parametrize("name", ["bert", "bert-base", None])
def test_a_saved_system_comes_back(name: str | None, tmp_path: Path) -> None:
    system = tiny(heads={"next-sentence": {"num_classes": 3}})
    mm_kptm.save(system, tmp_path / "new" / "folder")
    folder = tmp_path / "new" / "folder"
    back = mm_kptm.load(str(folder)) if name is None else mm_kptm.load(name, folder)
    assert same(system, back) and back.head_sizes == system.head_sizes
    torch.testing.assert_close(back(INPUTS).pooled, system(INPUTS).pooled)
    described = json.loads((folder / "config.json").read_text("utf-8"))
    assert described["recipe"] == "bert-base" and described["mm_kptm"] == mm_kptm.__version__


def test_tied_weights_are_saved_once_and_come_back_tied(tmp_path: Path) -> None:
    mm_kptm.save(tiny(), tmp_path)
    back = mm_kptm.load("bert", tmp_path)
    assert back.head("masked-tokens").word is back.encoder.embed.text.word
    assert "heads.masked-tokens.word.weight" not in load_file(tmp_path / "model.safetensors")


def test_another_recipe_in_the_folder_is_refused(tmp_path: Path) -> None:
    mm_kptm.save(tiny(), tmp_path)
    with pytest.raises(UserError) as raised:
        mm_kptm.load("mbert", tmp_path)
    assert str(raised.value) == f"{tmp_path} holds bert-base, but mbert was asked for"


def test_a_folder_that_was_not_saved_here_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError) as raised:
        mm_kptm.load(str(tmp_path))
    assert str(raised.value) == f"{tmp_path} is no folder with config.json and model.safetensors that this suite saved"


def test_a_folder_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError) as raised:
        mm_kptm.load("bert", tmp_path)
    assert str(raised.value) == (
        f"{tmp_path} holds no checkpoint; one of model.safetensors, weights.safetensors, pytorch_model.bin, model.bin, "
        "model.pt was looked for"
    )


def test_a_published_checkpoint_fills_the_heads_that_it_has(tmp_path: Path) -> None:
    system = tiny()
    save_file(published(system), tmp_path / "w.safetensors")
    back = mm_kptm.load("bert", tmp_path / "w.safetensors", **SIZES)
    assert same(system, back) and set(back.heads) == {"masked-tokens", "next-sentence"}
    bare = {name: tensor for name, tensor in published(system).items() if not name.startswith("cls.")}
    save_file(bare, tmp_path / "bare.safetensors")
    assert set(mm_kptm.load("bert", tmp_path / "bare.safetensors", **SIZES).heads) == set()
    assert set(mm_kptm.load("bert", tmp_path / "w.safetensors", heads=["next-sentence"], **SIZES).heads) == {
        "next-sentence"
    }


def test_a_published_configuration_sizes_the_system_and_the_caller_wins(tmp_path: Path) -> None:
    system = tiny()
    save_file(published(system), tmp_path / "model.safetensors")
    fields = {
        "hidden_size": 8,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "intermediate_size": 12,
        "vocab_size": 20,
        "max_position_embeddings": 16,
        "model_type": "bert",
    }
    (tmp_path / "config.json").write_text(json.dumps(fields), encoding="utf-8")
    assert mm_kptm.load("bert", tmp_path).sizes["num_heads"] == 4
    back = mm_kptm.load("bert", tmp_path, num_heads=2)
    torch.testing.assert_close(back(INPUTS).text, system(INPUTS).text)


def test_a_checkpoint_of_another_size_is_refused(tmp_path: Path) -> None:
    save_file(published(tiny()), tmp_path / "w.safetensors")
    with pytest.raises(UnmappedKeys, match=r"other shapes than this model has: .*\[20, 8\] instead of \[30, 8\]"):
        mm_kptm.load("bert", tmp_path / "w.safetensors", **{**SIZES, "vocab_size": 30})


def test_fresh_parts_keep_their_own_weights(tmp_path: Path) -> None:
    system = tiny()
    state = {name: tensor for name, tensor in published(system).items() if "pooler" not in name}
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(UnmappedKeys, match=r"nothing fills our parameters: encoder\.pooler\.dense\.bias"):
        mm_kptm.load("bert", tmp_path / "w.safetensors", **SIZES)
    back = mm_kptm.load("bert", tmp_path / "w.safetensors", fresh=["encoder.pooler."], seed=0, **SIZES)
    assert same(back, system), "the same seed draws the same fresh pooler"


def test_a_fresh_part_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    save_file(published(tiny()), tmp_path / "w.safetensors")
    expected = r"^no parameter of bert-base begins with 'heads\.vqa', so nothing there can stay fresh$"
    with pytest.raises(UserError, match=expected):
        mm_kptm.load("bert", tmp_path / "w.safetensors", fresh=["heads.vqa"], **SIZES)


def test_the_public_names_are_few() -> None:
    assert set(mm_kptm.__all__) == {
        *("__version__", "build", "catalogue", "load", "push", "save"),
        *("TrainedRun", "compare", "evaluate", "fit", "trace"),
    }
    with pytest.raises(AttributeError, match=r"^module 'mm_kptm' has no attribute 'nothing'$"):
        mm_kptm.nothing  # noqa: B018
