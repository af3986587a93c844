"""Pixel-BERT's convolutions out of checkpoints with the names of the re-implementation, in both of its forms."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

import mm_kptm
from mm_kptm.batch import Images, Inputs, Tokens
from mm_kptm.errors import UserError
from mm_kptm.experiment.settings import VisionSettings
from mm_kptm.experiment.visual.frontend import add_vision, published_frontends
from mm_kptm.nn.backbones import CaffeBackbone, build_backbone
from mm_kptm.systems.pretrained import translated
from tests.vision.resnets import State, random_resnet, resnet

GOLDEN = Path(__file__).parents[1] / "golden" / "data" / "pixel_bert" / "pretrain"
WIDTH, BLOCKS, DIM = 2, (3, 4, 6, 3), 24


def convolutions(blocks: tuple[int, ...] = BLOCKS) -> State:
    """A ResNet by torchvision's names, and the convolution behind it."""
    generator = torch.Generator().manual_seed(0)
    state = random_resnet(WIDTH, blocks, generator)
    return state | {"grid": torch.randn(DIM, 32 * WIDTH, 3, 3, generator=generator) / 24}


def plain(name: str) -> str:
    """The name in the re-implementation's own ResNet."""
    return "cnn.grid_encoder.0.weight" if name == "grid" else f"cnn.{name.replace('layer', 'stage')}"


def detectron(name: str) -> str:
    """The name in the detector of detectron2, whose res5 belongs to the heads."""
    if name == "grid":
        return "cnn.grid_encoder.0.weight"
    name = name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")
    for k in (1, 2, 3):
        name = name.replace(f".bn{k}.", f".conv{k}.norm.")
    first, _, rest = name.partition(".")
    if first in ("conv1", "bn1"):
        return f"cnn.feature.backbone.stem.conv1{'.norm' if first == 'bn1' else ''}.{rest}"
    number = int(first.removeprefix("layer")) + 1
    return f"cnn.feature.{'roi_heads' if number == 5 else 'backbone'}.res{number}.{rest}"


def written(folder: Path, form: str, state: State | None = None, more: State | None = None) -> Path:
    name_of = {"plain": plain, "detectron": detectron}[form]
    golden = load_file(GOLDEN / "weights.safetensors")
    whole = {key if key.startswith("transformer.") else f"transformer.{key}": value for key, value in golden.items()}
    whole |= {name_of(name): value for name, value in (state or convolutions()).items()} | (more or {})
    save_file(whole, folder / "weights.safetensors")
    (folder / "config.json").write_bytes((GOLDEN / "config.json").read_bytes())
    return folder


def expected(pixels: Tensor) -> Tensor:
    """The cells of one picture, [cells, D]: BGR, ResNet, 3x3 convolution, max-pooling, ReLU."""
    state = convolutions()
    cells = resnet(state, pixels[:, [2, 1, 0]], stages=4)
    pooled = F.max_pool2d(F.conv2d(cells, state["grid"], padding=1), 2).relu()
    return pooled[0].flatten(1).T


@pytest.mark.parametrize("form", ["plain", "detectron"])
def test_the_cells_are_those_of_the_published_convolutions(tmp_path: Path, form: str) -> None:
    pictures = [torch.randn(3, 128, 192), torch.randn(3, 192, 128)]
    system = mm_kptm.load("pixel-bert", written(tmp_path, form), frontends=["pixels"])
    inputs = Inputs(text=Tokens.of([[2, 7, 3], [2, 8, 9, 3]]), images=Images.of(pictures))
    regions = system.read_raw(inputs).regions
    assert regions.layout.lengths == (2 * 3, 3 * 2)
    whole = torch.cat([expected(picture[None]) for picture in pictures])
    torch.testing.assert_close(regions.features, whole, atol=1e-5, rtol=1e-4)
    read = mm_kptm.load("pixel-bert", tmp_path)  # the same encoder on finished cells
    assert not read.frontends
    given = inputs.with_streams(images=None, regions=regions)
    assert torch.equal(system(inputs).pooled, read(given).pooled)


def test_an_experiment_takes_the_convolutions_out_of_the_checkpoint(tmp_path: Path) -> None:
    settings = VisionSettings(backbone="caffe-resnet50", size=128)
    recipe = mm_kptm.catalogue()["pixel-bert-base"]
    folder = written(tmp_path, "plain")
    system = mm_kptm.load("pixel-bert", folder, frontends=published_frontends(settings, recipe))
    kept = {name: value.clone() for name, value in system.frontends.named_parameters()}
    add_vision(system, settings, recipe)
    assert kept.keys() == dict(system.frontends.named_parameters()).keys()
    assert all(torch.equal(kept[name], value) for name, value in system.frontends.named_parameters())
    assert published_frontends(VisionSettings(backbone="resnet50"), recipe) == {}  # timm's, not those of the file
    with pytest.raises(UserError, match="backbone is caffe-resnet50, but"):
        add_vision(system, VisionSettings(backbone="resnet50"), recipe)
    with pytest.raises(UserError, match="a ResNet of 18 layers was asked for, but those with"):
        build_backbone("caffe-resnet18")
    with pytest.raises(UserError, match="the weights of caffe-resnet50 come with the checkpoint of"):
        build_backbone("caffe-resnet50", weights=tmp_path / "weights.safetensors")


def test_norms_of_the_detector_stay_as_they_are(tmp_path: Path) -> None:
    frozen = mm_kptm.load("pixel-bert", written(tmp_path, "detectron"), frontends=["pixels"]).train()
    assert not any(norm.training for norm in frozen.modules() if isinstance(norm, torch.nn.BatchNorm2d))
    moving = mm_kptm.load("pixel-bert", written(tmp_path, "plain"), frontends=["pixels"]).train()
    assert all(norm.training for norm in moving.modules() if isinstance(norm, torch.nn.BatchNorm2d))


def test_every_published_name_has_its_place(tmp_path: Path) -> None:
    heads = {
        "cnn.feature.proposal_generator.rpn_head.conv.weight": torch.zeros(2),
        "cnn.feature.roi_heads.box_predictor.cls_score.bias": torch.zeros(2),
    }
    translation = translated("pixel-bert", written(tmp_path, "detectron", more=heads))
    assert not translation.strangers
    assert {name for name in translation.left if name.startswith("cnn.")} == heads.keys()


def test_a_saved_folder_holds_the_convolutions(tmp_path: Path) -> None:
    (tmp_path / "official").mkdir()
    system = mm_kptm.load("pixel-bert", written(tmp_path / "official", "plain"), frontends=["pixels"])
    mm_kptm.save(system, tmp_path / "model")
    inputs = Inputs(text=Tokens.of([[2, 7, 3]]), images=Images(torch.randn(1, 3, 128, 128)))
    assert torch.equal(mm_kptm.load(str(tmp_path / "model"))(inputs).pooled, system(inputs).pooled)


def test_pictures_are_prepared_in_bgr_on_0_to_255() -> None:
    form = CaffeBackbone(50, width=2).image_format
    colour = torch.tensor([200.0, 100.0, 50.0])  # RGB
    prepared = (colour / 255 - torch.tensor(form.mean)) / torch.tensor(form.std)
    torch.testing.assert_close(prepared, colour - torch.tensor([123.675, 116.28, 103.53]))


def test_convolutions_of_another_kind_are_named(tmp_path: Path) -> None:
    context = {"cnn.stage2.3.context_block.conv_mask.weight": torch.zeros(2)}
    folder = written(tmp_path, "plain", more=context)
    with pytest.raises(UserError, match=r"have global context blocks \(cnn.stage2.3.context_block.conv_mask.weight\)"):
        mm_kptm.load("pixel-bert", folder, frontends=["pixels"])
    assert not mm_kptm.load("pixel-bert", folder).frontends
    written(tmp_path, "plain", convolutions((1, 2, 5, 3)))
    with pytest.raises(UserError, match="the third stage of the convolutions has 5 blocks, but those of 50, 101 and"):
        mm_kptm.load("pixel-bert", tmp_path, frontends=["pixels"])
