"""Teachers of pictures: which weights are read, how pictures reach them, and what is refused."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch.nn.functional import normalize

import mm_kptm
from mm_kptm.compression import ImageTeacher
from mm_kptm.errors import UserError
from tests.small_towers import SIZES

BACKBONE = "test_resnet"
LITE0_MEAN, LITE0_STD = 127 / 255, 128 / 255


def drawn(width: int, height: int, count: int = 5) -> list[Image.Image]:
    random = np.random.default_rng(0)
    return [Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8)) for _ in range(count)]


def expected(features: torch.Tensor) -> torch.Tensor:
    rows = normalize(features, dim=-1)
    return normalize(rows - rows.mean(0), dim=-1)


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    """A backbone with its classifier, as timm publishes it; its norms have statistics of their own."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return timm.create_model(BACKBONE, pretrained=False).eval()


def test_a_file_of_timm_is_read_at_its_published_size(network: torch.nn.Module, tmp_path: Path) -> None:
    torch.save(network.state_dict(), tmp_path / "backbone.pth")
    pictures = drawn(200, 180)
    found = ImageTeacher(str(tmp_path / "backbone.pth"), backbone=BACKBONE).vectors(pictures, batch_size=2)
    squares = []
    for one in pictures:  # short side 160, as published, and its middle
        resized = one.resize((int(160 * 200 / 180), 160), Image.Resampling.BILINEAR)
        left = round((resized.width - 160) / 2)
        values = torch.from_numpy(np.array(resized.crop((left, 0, left + 160, 160)))).permute(2, 0, 1) / 255
        squares.append((values - 0.5) / 0.5)
    with torch.no_grad():
        features = network.forward_head(network.forward_features(torch.stack(squares)), pre_logits=True)
    torch.testing.assert_close(found, expected(features), atol=1e-5, rtol=1e-4)
    assert not found.requires_grad


def test_a_saved_encoder_reads_pictures_as_it_was_trained(tmp_path: Path) -> None:
    system = mm_kptm.build("efficientnet-lite0", backbone=BACKBONE, heads=[], seed=0).eval()
    mm_kptm.save(system, tmp_path / "encoder")
    pictures = drawn(48, 48)
    found = ImageTeacher(str(tmp_path / "encoder"), size=48).vectors(pictures)
    pixels = torch.from_numpy(np.stack([np.asarray(one) for one in pictures])).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        features = system.encoder.backbone((pixels - LITE0_MEAN) / LITE0_STD)
    torch.testing.assert_close(found, expected(features), atol=1e-5, rtol=1e-4)


def test_of_two_towers_the_image_tower_is_read_in_its_preparation(tmp_path: Path) -> None:
    system = mm_kptm.build("dual-tower", seed=0, heads=[], **SIZES["dual-tower"]).eval()
    mm_kptm.save(system, tmp_path / "pair")
    pictures = drawn(20, 30)
    with torch.no_grad():
        features = system.encoder.embed_images(system.encoder.prepare_images(pictures))
    found = ImageTeacher(str(tmp_path / "pair")).vectors(pictures, batch_size=3)
    torch.testing.assert_close(found, expected(features), atol=1e-5, rtol=1e-4)
    with pytest.raises(UserError, match=r"pair reads pictures of 16 pixels a side, but size is 32; leave it out$"):
        ImageTeacher(str(tmp_path / "pair"), size=32).load()


def test_pictures_are_decoded_a_batch_at_a_time_and_no_random_number_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mm_kptm.save(mm_kptm.build("efficientnet-lite0", backbone=BACKBONE, heads=[], seed=0), tmp_path / "encoder")
    pictures, asked, read = drawn(16, 16), [], []

    class Stored:
        def __len__(self) -> int:
            return len(pictures)

        def __getitem__(self, number: int) -> Image.Image:
            asked.append(number)
            return pictures[number]

    teacher = ImageTeacher(str(tmp_path / "encoder"), size=32)
    state = torch.random.get_rng_state()
    encoder = teacher.load()
    assert torch.equal(state, torch.random.get_rng_state())

    def embed(pixels: torch.Tensor) -> torch.Tensor:
        read.append(len(asked))
        return encoder.embed(pixels)

    monkeypatch.setattr(ImageTeacher, "load", lambda self: replace(encoder, embed=embed))
    whole = teacher.vectors(Stored(), batch_size=2)
    assert asked == [0, 1, 2, 3, 4] and read == [2, 4, 5]
    torch.testing.assert_close(whole, teacher.vectors(pictures, batch_size=5), atol=1e-5, rtol=1e-4)


def test_what_a_teacher_of_pictures_cannot_be_is_said(network: torch.nn.Module, tmp_path: Path) -> None:
    torch.save(network.state_dict(), tmp_path / "backbone.pth")
    file = str(tmp_path / "backbone.pth")
    text = mm_kptm.build("bert-base", seed=0, heads=[], dim=8, num_layers=1, num_heads=2, ffn_dim=8, vocab_size=9)
    mm_kptm.save(text, tmp_path / "text")
    for teacher, message in (
        (ImageTeacher(str(tmp_path / "gone"), backbone=BACKBONE), "gone, but there is no such file or folder"),
        (ImageTeacher(file), "holds published weights; name the recipe that reads them, or the backbone of timm"),
        (ImageTeacher(file, "moco", BACKBONE), "has the recipe moco and the backbone test_resnet; name the one"),
        (ImageTeacher(file, backbone="test_resnot"), "timm has no backbone 'test_resnot'"),
        (ImageTeacher(file, backbone="test_vit"), "are not the weights of the backbone test_vit"),
        (ImageTeacher(str(tmp_path / "text")), "is bert-base, which does not turn pictures into vectors"),
    ):
        with pytest.raises(UserError, match=re.escape(message)):
            teacher.load()
