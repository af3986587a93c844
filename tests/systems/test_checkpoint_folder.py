"""Checkpoints as they are found: several files, other content than the name says, marks of trainers, broken JSON."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file, save_model
from torch import Tensor
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification, BertModel, RobertaConfig
from transformers import RobertaForMaskedLM as RobertaLM

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.cli import main
from mm_kptm.errors import UserError, UserNotice
from mm_kptm.systems.checkpoint_files import read_weights
from mm_kptm.systems.keymap import UnmappedKeys
from mm_kptm.systems.system import System

SIZES: dict[str, Any] = {
    "vocab_size": 30,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 20,
}
IDS = [5, 7, 9, 11, 6, 8]


@pytest.fixture
def bert() -> BertModel:
    torch.manual_seed(0)
    return BertModel(BertConfig(**SIZES)).eval()


@pytest.fixture
def folder(bert: BertModel, tmp_path: Path) -> Path:
    bert.save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


@torch.no_grad()
def states(system: System) -> Tensor:
    return system(Inputs(text=Tokens.of([IDS]))).text


@torch.no_grad()
def published_states(model: Any) -> Tensor:
    return model(torch.tensor([IDS])).last_hidden_state[0]


def shard(folder: Path, ending: str = "safetensors") -> dict[str, str]:
    whole = folder / "model.safetensors"
    tensors, where = load_file(whole), {}
    whole.unlink()
    stem = "model" if ending == "safetensors" else "pytorch_model"
    for number in (0, 1):
        file = f"{stem}-0000{number + 1}-of-00002.{ending}"
        part = {name: tensors[name] for name in sorted(tensors)[number::2]}
        save_file(part, folder / file) if ending == "safetensors" else torch.save(part, folder / file)
        where |= dict.fromkeys(part, file)
    (folder / f"{stem}.{ending}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return where


@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_weights_in_several_files_are_read_through_their_index(folder: Path, bert: BertModel, ending: str) -> None:
    shard(folder, ending)
    torch.testing.assert_close(states(mm_kptm.load("bert", folder)), published_states(bert), atol=1e-5, rtol=0)


def test_an_older_file_beside_shards_is_noticed_and_not_read(folder: Path, bert: BertModel) -> None:
    torch.save({name: 0 * tensor for name, tensor in bert.state_dict().items()}, folder / "pytorch_model.bin")
    shard(folder)
    with pytest.warns(
        UserNotice, match=r"holds model\.safetensors\.index\.json, which is read, and pytorch_model\.bin"
    ):
        system = mm_kptm.load("bert", folder)
    torch.testing.assert_close(states(system), published_states(bert), atol=1e-5, rtol=0)


def test_a_notice_is_one_sentence_on_the_command_line(
    folder: Path, bert: BertModel, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(bert.state_dict(), folder / "pytorch_model.bin")
    assert main(["convert", "bert-base", str(folder), str(folder.parent / "out")]) == 0
    assert capsys.readouterr().err == (
        f"mm-kptm: {folder} holds model.safetensors, which is read, and pytorch_model.bin, which is not\n"
    )


def test_one_of_several_files_is_said_to_be_one(folder: Path) -> None:
    shard(folder)
    with pytest.raises(UserError, match=r"is one of 2 files of a checkpoint; give the folder, which must hold model"):
        mm_kptm.load("bert", folder / "model-00001-of-00002.safetensors")


def test_several_files_without_an_index_are_said_to_lack_it(folder: Path) -> None:
    shard(folder)
    (folder / "model.safetensors.index.json").unlink()
    with pytest.raises(UserError, match=r"holds 2 of 2 files of a checkpoint, but no model\.safetensors\.index\.json$"):
        mm_kptm.load("bert", folder)


def test_a_missing_file_of_several_is_named(folder: Path) -> None:
    shard(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(UserError, match=r"names model-00002-of-00002\.safetensors, which is not beside it"):
        mm_kptm.load("bert", folder)


def test_an_index_of_other_files_is_refused(folder: Path) -> None:
    where = shard(folder)
    index = folder / "model.safetensors.index.json"
    first, second = sorted(set(where.values()))
    name = next(name for name, file in where.items() if file == first)
    index.write_text(json.dumps({"weight_map": {**where, name: second}}))
    with pytest.raises(UserError, match=rf"says that {second} holds {name}, but it does not"):
        mm_kptm.load("bert", folder)
    index.write_text(json.dumps({"weight_map": {tensor: file for tensor, file in where.items() if tensor != name}}))
    with pytest.raises(UserError, match=rf"holds {name}, which model\.safetensors\.index\.json does not list"):
        mm_kptm.load("bert", folder)


@pytest.mark.parametrize("content", ['{"weight_map": 3}', "{}", '{"weight_map": {"a": 1}}'])
def test_an_index_without_a_map_is_refused(folder: Path, content: str) -> None:
    shard(folder)
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(UserError, match=r"has no 'weight_map' from the names of tensors to those of files$"):
        mm_kptm.load("bert", folder)


def test_an_index_may_not_point_outside_its_folder(folder: Path) -> None:
    shard(folder)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../model.safetensors"}}')
    with pytest.raises(UserError, match=r"names '\.\./model\.safetensors', but its files must lie beside it$"):
        mm_kptm.load("bert", folder)


@pytest.mark.parametrize("ending", ["bin", "safetensors", "pt", "npy"])
@pytest.mark.parametrize(
    ("content", "what"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n",
            r"is a pointer of Git LFS \(\d+ bytes",
        ),
        (b"<!DOCTYPE html><html><body>404</body></html>", r"is a web page \(44 bytes\), not a checkpoint"),
        (b"\xef\xbb\xbf\n<HTML>", r"is a web page"),
        (b"Entry not found", r"is a text file \(15 bytes\), not a checkpoint"),
        ('{"error": "nicht verfügbar"}'.encode(), r"is a text file"),
        (gzip.compress(b"weights", mtime=0), r"is packed with gzip; unpack it first"),
    ],
)
def test_what_is_no_checkpoint_is_said_to_be_what_it_is(content: bytes, what: str, ending: str, tmp_path: Path) -> None:
    (tmp_path / f"w.{ending}").write_bytes(content)
    with pytest.raises(UserError, match=what) as raised:
        read_weights(tmp_path / f"w.{ending}")
    assert "weights_only" not in str(raised.value)


def test_content_counts_and_not_the_ending(folder: Path, tmp_path: Path) -> None:
    whole = load_file(folder / "model.safetensors")
    (tmp_path / "w.bin").write_bytes((folder / "model.safetensors").read_bytes())
    torch.save(whole, tmp_path / "w.safetensors")
    for name in ("w.bin", "w.safetensors"):
        read = read_weights(tmp_path / name)
        assert read.keys() == whole.keys() and all(torch.equal(read[key], whole[key]) for key in whole)


def test_aliases_of_tied_weights_are_read(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = RobertaLM(RobertaConfig(**SIZES, type_vocab_size=1)).eval()
    save_model(model, str(tmp_path / "model.safetensors"))
    model.config.save_pretrained(tmp_path)
    assert "roberta.embeddings.word_embeddings.weight" not in load_file(tmp_path / "model.safetensors")
    system = mm_kptm.load("roberta", tmp_path)
    torch.testing.assert_close(states(system), published_states(model.roberta), atol=1e-5, rtol=0)


def test_a_tied_tensor_under_its_second_name_alone_is_read(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = BertForMaskedLM(BertConfig(**SIZES)).eval()
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    del tensors["bert.embeddings.word_embeddings.weight"], tensors["cls.predictions.bias"]
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    model.config.save_pretrained(tmp_path)
    system = mm_kptm.load("bert", tmp_path, fresh=["encoder.pooler."])
    torch.testing.assert_close(states(system), published_states(model.bert), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "beginning",
    ["module.", "model.", "_orig_mod.", "module._orig_mod.", "model._orig_mod.", "net.text.bert.", "0.auto_model."],
)
def test_what_a_trainer_puts_before_all_names_is_taken_off(folder: Path, bert: BertModel, beginning: str) -> None:
    tensors = {beginning + name: tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors")
    torch.testing.assert_close(states(mm_kptm.load("bert", folder)), published_states(bert), atol=1e-5, rtol=0)


def test_lightnings_names_beside_others_can_be_ignored(folder: Path, bert: BertModel) -> None:
    tensors = {"model." + name: tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    torch.save(
        {"state_dict": {**tensors, "metric.total": torch.ones(1)}, "epoch": 3, "pytorch-lightning_version": "2.5"},
        folder / "model.bin",
    )
    (folder / "model.safetensors").unlink()
    with pytest.raises(UnmappedKeys, match=r"no rule for published keys: metric\.total\n .*--ignore metric\."):
        mm_kptm.load("bert", folder)
    system = mm_kptm.load("bert", folder, ignore=["metric."])
    torch.testing.assert_close(states(system), published_states(bert), atol=1e-5, rtol=0)


def test_names_that_meet_without_the_marks_must_agree(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["_orig_mod.pooler.dense.bias"] = tensors["pooler.dense.bias"] + 1
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(UserError, match=r"are one parameter, but hold other values; drop one of them$"):
        mm_kptm.load("bert", folder)


def test_nothing_to_ignore_is_refused(folder: Path) -> None:
    with pytest.raises(
        UserError, match=r"^no published name begins with 'clasifier', so nothing there can be ignored$"
    ):
        mm_kptm.load("bert", folder, ignore=["clasifier"])


def test_a_masked_lm_without_a_pooler_names_the_way_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    model = BertForMaskedLM(BertConfig(**SIZES)).eval()
    model.save_pretrained(tmp_path / "mlm")
    convert = ["convert", "bert-base", str(tmp_path / "mlm"), str(tmp_path / "out")]
    assert main(convert) == 2
    assert "--fresh encoder.pooler. (fresh=[...], ignore=[...] in Python)" in capsys.readouterr().err
    assert main([*convert, "--fresh", "encoder.pooler."]) == 0
    torch.testing.assert_close(
        states(mm_kptm.load(str(tmp_path / "out"))), published_states(model.bert), atol=1e-5, rtol=0
    )


def test_a_classifier_of_transformers_is_a_head_or_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    model = BertForSequenceClassification(BertConfig(**SIZES)).eval()
    model.save_pretrained(tmp_path / "classes")
    convert = ["convert", "bert-base", str(tmp_path / "classes"), str(tmp_path / "out")]
    assert main([*convert[:-1], "--dry-run"]) == 0
    assert "classifier.weight -> heads.classifier." in capsys.readouterr().out
    assert main([*convert, "--ignore", "classifier."]) == 0
    assert main([*convert[:-1], "--dry-run", "--ignore", "classifier."]) == 0
    assert "classifier.bias stays behind: was to be ignored" in capsys.readouterr().out
    torch.testing.assert_close(
        states(mm_kptm.load(str(tmp_path / "out"))), published_states(model.bert), atol=1e-5, rtol=0
    )


def test_a_byte_order_mark_before_the_configuration_is_no_fault(folder: Path, bert: BertModel) -> None:
    config = folder / "config.json"
    config.write_bytes(b"\xef\xbb\xbf" + config.read_bytes())
    torch.testing.assert_close(states(mm_kptm.load("bert", folder)), published_states(bert), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", r"config\.json is empty; a JSON file was expected$"),
        (b'{"hidden_size": 16', r"config\.json, line 1, column 19: no valid JSON"),
        (b"[16]", r"config\.json must hold an object of fields, but it is \[16\]$"),
        (b"null", r"config\.json must hold an object of fields, but it is null$"),
        (b'{"a": "\xe4"}', r"config\.json, line 1 is not UTF-8"),
        ('{"hidden_size": 16}'.encode("utf-16"), r"config\.json, line 1 is not UTF-8"),
        (b"[" * 100_000, r"config\.json nests too deep to be read$"),
    ],
)
def test_a_broken_configuration_is_one_sentence(folder: Path, content: bytes, what: str) -> None:
    (folder / "config.json").write_bytes(content)
    for path in (folder, folder / "model.safetensors"):
        with pytest.raises(UserError, match=what):
            mm_kptm.load("bert", path)
