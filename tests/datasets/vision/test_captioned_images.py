"""Own image files with captions, from a folder to a run that ranks them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import mm_kptm
from mm_kptm import cli
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.datasets.protocol import DataRequest
from mm_kptm.datasets.vision.captioned_images import CaptionedImages, retrieval
from mm_kptm.errors import UserError
from mm_kptm.experiment.api import settings_of
from mm_kptm.experiment.build import build
from mm_kptm.systems.discovery import find

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    lines = []
    for name, colour in COLOURS.items():
        Image.new("RGB", (30, 20), colour).save(tmp_path / "pictures" / f"{name}.png")
        lines.append({"image": f"{name}.png", "captions": [f"a {name} wall", f"{name} paper"]})
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, lines)))
    words = [*BERT_SPECIALS, "a", "wall", "paper", *COLOURS]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    return tmp_path


def settings(folder: Path, **more: object) -> CaptionedImages:
    return CaptionedImages(
        name="captioned-images",
        train=folder / "train.jsonl",
        vocabulary=folder / "vocab.txt",
        pictures=folder / "pictures",
        image_size=16,
        max_length=8,
        **more,
    )


def test_captions_of_one_image_are_answers_to_it_alike(folder: Path) -> None:
    prepared = retrieval(settings(folder), DataRequest(find("dual-tower")))
    source = prepared.sources["train"]()
    assert source.image_of.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    batch = source.batch([0, 3], torch.Generator().manual_seed(0))
    assert batch.inputs.images.pixels.shape == (2, 3, 16, 16)
    red, green = (pixels.mean((1, 2)).argmax() for pixels in batch.inputs.images.pixels)
    assert (int(red), int(green)) == (0, 1)


def test_crops_come_from_the_generator_and_only_in_training(folder: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "pictures" / "red.png")
    prepared = retrieval(settings(folder, dev=folder / "train.jsonl", least_area=0.3), DataRequest(find("dual-tower")))

    def pixels(split: str, seed: int) -> torch.Tensor:
        source = prepared.sources[split]()
        return source.batch([0], torch.Generator().manual_seed(seed)).inputs.images.pixels

    assert torch.equal(pixels("train", 0), pixels("train", 0))
    assert not torch.equal(pixels("train", 0), pixels("train", 1))
    assert torch.equal(pixels("dev", 0), pixels("dev", 1))


def test_four_colours_are_learnt_from_a_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = {
        "name": "captioned-images",
        "train": str(folder / "train.jsonl"),
        "test": str(folder / "train.jsonl"),
        "pictures": str(folder / "pictures"),
        "vocabulary": str(folder / "vocab.txt"),
        "image_size": 16,
        "max_length": 8,
    }
    text = {"recipe": "bert-base", "dim": 16, "num_layers": 1, "num_heads": 2, "ffn_dim": 16, "dropout": 0.0}
    image = {"patch_size": 8, "width": 16, "head_width": 8, "layers": 1}
    run = {
        "name": "colours",
        "task": "contrastive-retrieval",
        "data": data,
        "encoder": {"recipe": "dual-tower", "sizes": {"embed_dim": 8, "image": image, "text": text}, "init_std": 0.1},
        "train": {"steps": 60, "batch_size": 8, "lr": 0.01},
        "out": str(folder / "runs"),
    }
    (folder / "run.yaml").write_text(json.dumps(run))
    assert cli.main(["train", str(folder / "run.yaml")]) == 0
    capsys.readouterr()
    assert cli.main(["evaluate", str(folder / "runs" / "colours"), "--split", "test", "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured["text-to-image-recall@1"] == measured["image-to-text-recall@1"] == 1.0
    assert measured["text-to-image-median-rank"] == 1.0


@pytest.mark.parametrize("task", ["contrastive-retrieval", None])
def test_teachers_read_the_captions_and_the_images_of_training(folder: Path, task: str | None) -> None:
    sizes = {"dim": 8, "num_layers": 1, "num_heads": 2, "ffn_dim": 8, "max_positions": 8}
    mm_kptm.save(mm_kptm.build("bert-base", seed=0, vocab_size=12, **sizes), folder / "teacher")
    (folder / "teacher" / "vocab.txt").write_text((folder / "vocab.txt").read_text())
    mm_kptm.save(mm_kptm.build("efficientnet-lite0", backbone="test_resnet", heads=[], seed=0), folder / "seen")
    name, of_images = "similarity-distillation", "image-similarity-distillation"
    run = {
        "name": "taught",
        "task": task,
        "data": {
            "name": "captioned-images",
            "train": str(folder / "train.jsonl"),
            "vocabulary": str(folder / "vocab.txt"),
            "pictures": str(folder / "pictures"),
            "image_size": 16,
            "max_length": 8,
        },
        "encoder": {
            "recipe": "dual-tower",
            "sizes": {
                "embed_dim": 8,
                "image": {"patch_size": 8, "width": 16, "head_width": 8, "layers": 1},
                "text": {"recipe": "bert-base", "num_layers": 1, "dim": 8, "num_heads": 2, "ffn_dim": 8},
            },
        },
        "objectives": {name: 1.0, of_images: 1.0},
        "objective_arguments": {
            name: {"teacher": str(folder / "teacher")},
            of_images: {"teacher": str(folder / "seen"), "size": 16},
        },
        "train": {"steps": 1, "batch_size": 4},
    }
    built = build(settings_of(run))
    objective = built.model.objectives[name]
    assert objective.texts() == [caption for colour in COLOURS for caption in (f"a {colour} wall", f"{colour} paper")]
    batch = built.training.batch([5, 2, 0], torch.Generator().manual_seed(0))
    inputs = batch.examples.inputs if task else batch.by_name[name]
    assert inputs.labels[name].tolist() == [5, 2, 0] and torch.isfinite(built.model.loss(batch))
    assert inputs.labels[of_images].tolist() == [2, 1, 0]
    pictures = built.model.objectives[of_images].pictures()
    assert [picture.getpixel((0, 0)) for picture in pictures] == list(COLOURS.values())
    assert {picture.size for picture in pictures} == {(30, 20)}, "no crop and no resizing before the teacher's own"


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"least_area": 0.0}, "data.least_area is 0.0 but must be a share above 0, at most 1"),
        ({"candidate_pool_size": 1}, "data.candidate_pool_size 1, but pictures have a side of 1 pixel"),
    ],
)
def test_settings_that_mean_nothing_are_refused(broken: dict[str, object], message: str, folder: Path) -> None:
    with pytest.raises(UserError, match=message):
        settings(folder, **broken)


def test_a_missing_picture_is_named(folder: Path) -> None:
    (folder / "pictures" / "green.png").unlink()
    source = retrieval(settings(folder), DataRequest(find("dual-tower"))).sources["train"]()
    with pytest.raises(UserError, match=r"green\.png is not there"):
        source.batch([2], torch.Generator())
