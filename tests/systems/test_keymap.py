"""Published names become ours, and nothing goes unsaid."""

import os
import pickle
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from mm_kptm.errors import UserError
from mm_kptm.systems.checkpoint_files import read_checkpoint, read_weights
from mm_kptm.systems.keymap import UnmappedKeys, fit, plain, translate
from mm_kptm.systems.rules import Copies, Drop, Rename, Rule, Same, Split, Take, Transpose

ONE = torch.ones(1)


def state(*keys: str) -> dict[str, Tensor]:
    return {key: torch.full((1,), float(number)) for number, key in enumerate(keys)}


def test_fields_are_carried_over() -> None:
    rules = [Rename("enc.layer.{i}.{role}.{leaf}", "layers.{i}.{role}.{leaf}")]
    found = translate(state("enc.layer.11.query.weight", "enc.layer.x.query.weight", "enc.layer.1.a.b.c"), rules)
    assert found.placed == {"enc.layer.11.query.weight": "layers.11.query.weight"}
    assert found.strangers == ["enc.layer.x.query.weight", "enc.layer.1.a.b.c"]


def test_a_bracketed_part_may_be_absent() -> None:
    rules = [Rename("[bert.]pooler.{leaf}", "pooler.{leaf}")]
    assert set(translate(state("bert.pooler.weight", "pooler.bias"), rules).tensors) == {"pooler.weight", "pooler.bias"}


def test_a_field_used_twice_must_be_the_same_twice() -> None:
    found = translate(
        state("layer.3.out.3.weight", "layer.3.out.4.weight"), [Rename("layer.{i}.out.{i}.weight", "{i}")]
    )
    assert found.placed == {"layer.3.out.3.weight": "3"} and found.strangers == ["layer.3.out.4.weight"]


def test_the_first_rule_that_fits_counts() -> None:
    rules = [Drop("head.bias", because="unused"), Rename("head.{leaf}", "out.{leaf}")]
    found = translate(state("head.bias", "head.weight"), rules)
    assert found.left == {"head.bias": "unused"} and set(found.tensors) == {"out.weight"}


def test_dots_in_a_rule_are_dots() -> None:
    assert translate(state("aXb"), [Rename("a.b", "c")]).strangers == ["aXb"]


def test_packed_tensors_are_split_in_order() -> None:
    found = translate(
        {"in_proj_weight": torch.arange(6.0)}, [Split("in_proj_{leaf}", ("q.{leaf}", "k.{leaf}", "v.{leaf}"))]
    )
    assert {name: t.tolist() for name, t in found.tensors.items()} == {
        "q.weight": [0, 1],
        "k.weight": [2, 3],
        "v.weight": [4, 5],
    }


def test_a_matrix_that_lies_the_other_way_is_turned() -> None:
    matrix = torch.arange(6.0).view(2, 3)
    found = translate({"fc_4.w_0": matrix}, [Transpose("fc_{i}.w_0", "layers.{i}.weight")])
    assert torch.equal(found.tensors["layers.4.weight"], matrix.T)
    assert found.placed == {"fc_4.w_0": "layers.4.weight"}


def test_one_row_is_kept_as_a_table() -> None:
    rule = Take("mask.{leaf}", "hidden.{leaf}", row=1, because="the others are never read")
    found = translate({"mask.weight": torch.arange(6.0).view(3, 2)}, [rule])
    assert found.tensors["hidden.weight"].tolist() == [[2, 3]]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("module.bert.LayerNorm.gamma", "bert.LayerNorm.weight"),
        ("_module.x.beta", "x.bias"),
        ("a.module.b.weight", "a.b.weight"),
        ("gamma.weight", "gamma.weight"),
    ],
)
def test_marks_of_the_trainer_are_taken_off(key: str, expected: str) -> None:
    assert plain(key) == expected


RULES: list[Rule] = [Rename("a.{leaf}", "ours.{leaf}"), Same("b", as_="a.weight")]


def test_a_tied_key_that_repeats_its_twin_stays_behind() -> None:
    assert translate({"a.weight": ONE, "b": ONE.clone()}, RULES).left == {"b": "repeats a.weight"}
    assert translate({"b": ONE}, RULES).left == {"b": "repeats a.weight"}


def test_a_tied_key_that_differs_from_its_twin_is_refused() -> None:
    with pytest.raises(UserError, match=r"^b should repeat a.weight, with which it was tied, but holds other values$"):
        translate({"a.weight": ONE, "b": 2 * ONE}, RULES)


def test_a_checkpoint_that_fits_fills_every_parameter() -> None:
    filled = fit(translate({"a.weight": ONE}, RULES), {"ours.weight": ONE.shape})
    assert filled.keys() == {"ours.weight"}


@pytest.mark.parametrize(
    ("given", "expected", "complaint"),
    [
        (["a.x", "p", "q", "r", "s"], {"ours.x": 1}, "no rule for published keys: p, q, r and 1 more"),
        (["a.x"], {"ours.x": 1, "ours.y": 1}, "nothing fills our parameters: ours.y"),
        (["a.x", "a.y"], {"ours.x": 1}, "rules point at parameters we do not have: ours.y"),
        (["a.x"], {"ours.x": 2}, "other shapes than this model has: ours.x [1] instead of [2]"),
    ],
)
def test_what_does_not_fit_is_listed(given: list[str], expected: dict[str, int], complaint: str) -> None:
    with pytest.raises(UnmappedKeys) as raised:
        fit(translate(state(*given), RULES), {name: torch.Size([size]) for name, size in expected.items()})
    assert str(raised.value) == f"this checkpoint does not fit this model:\n  {complaint}"


def test_all_complaints_come_at_once() -> None:
    with pytest.raises(UnmappedKeys) as raised:
        fit(translate(state("stranger", "a.excess"), RULES), {"ours.missing": torch.Size([1])})
    assert [line.split(":")[0].strip() for line in str(raised.value).split("\n")[1:]] == [
        "no rule for published keys",
        "nothing fills our parameters",
        "rules point at parameters we do not have",
    ]


def test_parts_the_model_was_built_without_stay_behind() -> None:
    translation = translate(state("a.x", "a.heads"), [Rename("a.x", "ours.x"), Rename("a.heads", "heads.vqa.out")])
    assert fit(translation, {"ours.x": torch.Size([1])}, known=["heads.vqa."]).keys() == {"ours.x"}


def test_named_parts_may_stay_fresh() -> None:
    message = {"ours.x": torch.Size([1]), "heads.vqa.out": torch.Size([1])}
    assert fit(translate(state("a.x"), RULES), message, fresh=["heads.vqa."]).keys() == {"ours.x"}


@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.bin"])
@pytest.mark.parametrize("wrapper", [None, "model", "state_dict", "model_state_dict"])
@pytest.mark.parametrize("legacy", [True, False])
def test_torch_files_are_read_wrapped_or_not(name: str, wrapper: str | None, legacy: bool, tmp_path: Path) -> None:
    content = {"a": ONE} if wrapper is None else {wrapper: {"a": ONE}, "epoch": 3}
    torch.save(content, tmp_path / name, _use_new_zipfile_serialization=not legacy)
    assert torch.equal(read_weights(tmp_path / name)["a"], ONE)


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file({"a": ONE}, tmp_path / "w.safetensors")
    assert torch.equal(read_weights(tmp_path / "w.safetensors")["a"], ONE)


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("way", ["torch", "torch-legacy", "pickle"])
def test_a_pickle_that_runs_code_is_refused_and_not_run(way: str, tmp_path: Path) -> None:
    file, mark = tmp_path / "w.bin", tmp_path / "it-ran"
    if way == "pickle":
        file.write_bytes(pickle.dumps({"a": Bomb(mark)}))
    else:
        torch.save({"a": ONE, "b": Bomb(mark)}, file, _use_new_zipfile_serialization=way == "torch")
    with pytest.raises(UserError) as raised:
        read_weights(file)
    assert not mark.exists()
    assert str(raised.value) == (
        f"{file} holds more than tensors, and reading it would run code from the file; if you trust where it comes "
        "from, load it once with torch.load(..., weights_only=False) yourself and save its state dict as .safetensors"
    )


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("kept_as", [dict, Namespace])
@pytest.mark.parametrize("name", ["params", "args"])
def test_the_notes_of_a_trainer_are_read_as_data(name: str, kept_as: Any, legacy: bool, tmp_path: Path) -> None:
    params = {"emb_dim": 4, "lang2id": {"en": 0}, "optimizer": "adam,lr=0.1"}
    file = tmp_path / "w.pth"
    torch.save({"model": {"a": ONE}, name: kept_as(**params)}, file, _use_new_zipfile_serialization=not legacy)
    read = read_checkpoint(file)
    assert torch.equal(read.tensors["a"], ONE)
    assert read.config == {name: params}


def test_an_encoder_beside_a_decoder_gives_both_their_names(tmp_path: Path) -> None:
    torch.save({"encoder": {"a": ONE}, "decoder": {"a": ONE + 1}, "epoch": 3}, tmp_path / "w.pth")
    read = read_checkpoint(tmp_path / "w.pth")
    assert {name: tensor.item() for name, tensor in read.tensors.items()} == {"encoder.a": 1, "decoder.a": 2}
    assert read.config == {}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_what_params_hold_is_held_to_the_same_rule(tmp_path: Path) -> None:
    file, mark = tmp_path / "w.pth", tmp_path / "it-ran"
    torch.save({"model": {"a": ONE}, "params": Namespace(bomb=Bomb(mark))}, file)
    with pytest.raises(UserError, match="holds more than tensors"):
        read_checkpoint(file)
    assert not mark.exists()


class Miscalled:
    """A namespace made in a way that none can be made."""

    def __init__(self, *way: object) -> None:
        self.way = way

    def __reduce__(self) -> tuple[object, ...]:
        return (Namespace, *self.way)


@pytest.mark.parametrize("way", [((1,),), ((), 5)])
def test_a_namespace_that_cannot_be_is_no_whole_file(way: tuple[object, ...], tmp_path: Path) -> None:
    torch.save({"model": {"a": ONE}, "params": Miscalled(*way)}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"w\.pth is no whole torch file"):
        read_checkpoint(tmp_path / "w.pth")


def test_a_tensor_may_start_several_of_ours() -> None:
    made = translate(state("a.x"), [Copies("a.{leaf}", ("left.{leaf}", "right.{leaf}"))])
    assert made.tensors.keys() == {"left.x", "right.x"}
    assert made.placed == {"a.x": "left.x, right.x"}


@pytest.mark.parametrize("name", ["w.safetensors", "w.bin", "legacy.pt"])
@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.95])
def test_a_broken_off_file_is_refused_by_name(name: str, kept: float, tmp_path: Path) -> None:
    file, tensors = tmp_path / name, {f"t{i}": torch.randn(20, 20) for i in range(5)}
    if name.endswith("safetensors"):
        save_file(tensors, file)
    else:
        torch.save(tensors, file, _use_new_zipfile_serialization=name == "w.bin")
    content = file.read_bytes()
    file.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(UserError) as raised:
        read_weights(file)
    message = str(raised.value)
    kind, way_out = (
        ("safetensors", "fetch or convert it again") if name == "w.safetensors" else ("torch", "fetch it again")
    )
    assert message.startswith(f"{file} is no whole {kind} file (") and message.endswith(f"); {way_out}")
    assert "\n" not in message


def test_no_way_of_breaking_off_ends_in_another_error(tmp_path: Path) -> None:
    """torch's reader of old files fails in many ways, one for each kind of byte that is missing."""
    file = tmp_path / "w.pt"
    torch.save({"a": ONE, "b": ONE}, file, _use_new_zipfile_serialization=False)
    content = file.read_bytes()
    for kept in range(len(content)):
        file.write_bytes(content[:kept])
        with pytest.raises(UserError, match=r"w\.pt (is no whole torch file|holds more than tensors)"):
            read_weights(file)


@pytest.mark.parametrize("content", [[1, 2], {"a": 3}, "text"])
def test_a_file_without_a_state_dict_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pt")
    message = r"w\.pt holds no state dict: a mapping from names to tensors was looked for$"
    with pytest.raises(UserError, match=message):
        read_weights(tmp_path / "w.pt")


def test_an_array_is_one_tensor_without_a_name(tmp_path: Path) -> None:
    np.save(tmp_path / "entities.npy", np.arange(6, dtype=np.float32).reshape(2, 3))
    found = read_weights(tmp_path / "entities.npy")
    assert list(found) == [""] and torch.equal(found[""], torch.arange(6.0).view(2, 3))


@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY\x01\x00"])
def test_a_file_that_is_no_array_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "w.npy").write_bytes(content)
    with pytest.raises(UserError, match=r"w\.npy is no whole array of numbers \(.*\); fetch it again$"):
        read_weights(tmp_path / "w.npy")


def test_an_array_that_runs_code_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match=r"w\.npy is no whole array of numbers"):
        read_weights(tmp_path / "w.npy")


def test_a_file_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    message = r"^there is no file .*nowhere\.bin; give the path of a \.safetensors, \.pt, \.pth, \.bin or \.npy file$"
    with pytest.raises(UserError, match=message):
        read_weights(tmp_path / "nowhere.bin")


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w.ckpt").write_bytes(b"")
    message = r"w\.ckpt is no checkpoint that can be read; \.safetensors, \.pt, \.pth, \.bin and \.npy files can$"
    with pytest.raises(UserError, match=message):
        read_weights(tmp_path / "w.ckpt")
