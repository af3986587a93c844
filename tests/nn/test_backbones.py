"""Image backbones: maps and pooled features of timm's models, patches, weights of files, and freezing."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from mm_kptm.errors import UserError
from mm_kptm.nn.backbones import TimmBackbone, build_backbone

CONVOLUTIONS, TRANSFORMER = "resnet10t", "vit_tiny_patch16_224"


def pictures(height: int = 64, width: int = 64, count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "dim", "pooled", "stride"),
    [(CONVOLUTIONS, 512, 512, 32), (TRANSFORMER, 192, 192, 16), ("mobilenetv3_small_050", 288, 1024, 32)],
)
def test_a_model_of_timm_gives_a_map_and_one_vector(name: str, dim: int, pooled: int, stride: int) -> None:
    backbone = build_backbone(name, size=64).eval()
    assert (backbone.dim, backbone.pooled_dim, backbone.stride) == (dim, pooled, stride)
    cells = backbone(pictures())
    assert cells.shape == (2, 64 // stride, 64 // stride, dim) and backbone.grid(64, 64) == cells.shape[1:3]
    assert backbone.pooled(pictures()).shape == (2, pooled)


def test_the_pooled_vector_is_what_timm_gives() -> None:
    backbone = TimmBackbone(TRANSFORMER, size=64).eval()
    torch.testing.assert_close(backbone.pooled(pictures()), backbone.model(pictures()))


@pytest.mark.parametrize("name", [CONVOLUTIONS, TRANSFORMER, "patches"])
def test_a_wide_picture_has_a_wide_map_and_no_other_picture_changes_it(name: str) -> None:
    backbone = build_backbone(name, size=64, patch=16).eval()
    one, two = pictures(64, 128, 1), pictures(64, 128, 2)[1:]
    cells = backbone(torch.cat([one, two]))
    assert cells.shape[1] * 2 == cells.shape[2]
    torch.testing.assert_close(cells[:1], backbone(one))


def test_patches_are_the_pixels_row_by_row() -> None:
    backbone = build_backbone("patches", size=64, patch=32)
    batch = pictures(64, 96)
    assert torch.equal(backbone(batch)[1, 1, 2], batch[1, :, 32:64, 64:96].flatten())
    assert list(backbone.parameters()) == []


def test_a_frozen_backbone_keeps_weights_and_norm_statistics() -> None:
    backbone = build_backbone(CONVOLUTIONS, size=32, trainable=False)
    backbone.train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    assert not backbone(pictures(32, 32)).requires_grad
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
    assert not any(module.training for module in backbone.modules())


def test_norm_statistics_alone_may_be_frozen() -> None:
    moving, still = (build_backbone(CONVOLUTIONS, size=32, freeze_batch_norm=frozen) for frozen in (False, True))
    for backbone, moves in ((moving, True), (still, False)):
        backbone.train()
        norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
        before = norms[0].running_mean.clone()
        assert backbone(pictures(64, 64)).requires_grad
        assert torch.equal(before, norms[0].running_mean) is not moves


def test_weights_of_a_file_fill_the_model(tmp_path: Path) -> None:
    torch.manual_seed(3)
    published = timm.create_model(CONVOLUTIONS, pretrained=False).eval()  # with its classifier
    save_file(published.state_dict(), tmp_path / "w.safetensors")
    backbone = build_backbone(CONVOLUTIONS, size=64, weights=tmp_path / "w.safetensors").eval()
    expected = published.forward_features(pictures()).permute(0, 2, 3, 1)
    torch.testing.assert_close(backbone(pictures()), expected)


def test_positions_of_another_grid_are_interpolated(tmp_path: Path) -> None:
    published = timm.create_model(TRANSFORMER, pretrained=False, img_size=96)
    save_file(published.state_dict(), tmp_path / "w.safetensors")
    backbone = build_backbone(TRANSFORMER, size=64, weights=tmp_path / "w.safetensors")
    positions = backbone.model.pos_embed
    assert positions.shape[1] == 1 + 4 * 4
    torch.testing.assert_close(positions[:, 0], published.pos_embed[:, 0])


def test_what_cannot_be_built_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"timm has no backbone 'resnet19'; did you mean resnet18\?"):
        build_backbone("resnet19")
    with pytest.raises(UserError, match="cuts patches of 16 pixels, which do not fill 50"):
        build_backbone(TRANSFORMER, size=50)
    with pytest.raises(UserError, match="pictures of 60 x 64 pixels cannot be cut into patches of 32; resize them"):
        build_backbone("patches")(pictures(60, 64))
    with pytest.raises(UserError, match="was built for pictures of 32 x 32 pixels, but got 64 x 64; resize them"):
        build_backbone("mixer_s32_224", size=32)(pictures())
    save_file({"conv1.weight": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"are not the weights of the backbone resnet10t: it lacks bn1.bias, bn1.runn"):
        build_backbone(CONVOLUTIONS, weights=tmp_path / "w.safetensors")
    save_file(timm.create_model("resnet14t", num_classes=0).state_dict(), tmp_path / "v.safetensors")
    with pytest.raises(UserError, match=r"it has layer1.0.bn3.bias, .* besides"):
        build_backbone(CONVOLUTIONS, weights=tmp_path / "v.safetensors")
    state = timm.create_model(CONVOLUTIONS, num_classes=0).state_dict()
    save_file(state | {"bn1.bias": torch.zeros(3)}, tmp_path / "u.safetensors")
    with pytest.raises(UserError, match=r"bn1.bias has the shape \[3\], but that of the backbone resnet10t has \[64\]"):
        build_backbone(CONVOLUTIONS, weights=tmp_path / "u.safetensors")
    with pytest.raises(UserError, match=r"patches are raw pixels and take no weights, but .*safetensors was given"):
        build_backbone("patches", weights=tmp_path / "u.safetensors")
