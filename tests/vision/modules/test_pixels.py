"""Pixels become regions inside the model, for every system that reads regions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import mm_kptm
from mm_kptm.batch import Images, Inputs, Regions, SequenceLayout, Tokens
from mm_kptm.errors import UserError
from mm_kptm.systems.assembly import add_frontend
from mm_kptm.systems.saved import read_saved
from mm_kptm.systems.system import System
from mm_kptm.vision.extractors.cells import GridExtractor
from mm_kptm.vision.extractors.extractor import Picture
from mm_kptm.vision.modules.pixels import cell_boxes
from mm_kptm.vision.modules.single_stream.grid_features import sampled_cells
from tests.vision.small import SCHEDULES, vigorous

SMALL: dict[str, Any] = {
    "dim": 16, "num_heads": 2, "num_layers": 2, "ffn_dim": 32, "vocab_size": 40, "max_positions": 40, "dropout": 0.0,
    "num_region_layers": 1, "num_cross_layers": 1, "region_states": 16, "region_heads": 2, "region_ffn_dim": 32,
    "cross_dim": 16, "cross_heads": 2, "pooled_dim": 16, "visual_dim": 16, "num_region_classes": 0,
    "cross_text": (1,), "cross_regions": (0,), "region_dim": 24,
}  # fmt: skip
TWO_STREAMS = ("vilbert", "12-in-1", "volta")
#: The texts of two towers are read without the pictures.
READERS = [
    name
    for name, recipe in mm_kptm.catalogue().items()
    if "regions" in recipe.reads and "large" not in name and recipe.family != "dual-tower-regions"
]


def small(name: str, **more: Any) -> System:
    sizes = {**SMALL, **more}
    if name.startswith("volta"):
        sizes |= {"schedule": SCHEDULES.get(name.removeprefix("volta-"), "tt+tv+vt+vv= t+v= tt+tv+vt+vv= t+v=")}
        for size in ("region_states", "region_heads", "region_ffn_dim"):
            sizes.pop(size)
    known = mm_kptm.catalogue()[name].published_sizes()
    if not name.startswith(TWO_STREAMS):
        sizes.pop("region_states")
    system = mm_kptm.build(name, heads=(), seed=3, **{size: value for size, value in sizes.items() if size in known})
    return vigorous(system).eval()


def with_pixels(name: str, **sizes: Any) -> System:
    system = small(name)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        add_frontend(system, "pixels", {"backbone": "resnet10t", "size": 64, **sizes})
    for module in system.modules():
        if isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)  # VL-BERT's begin at zero, so that it would not see
    return system.eval()


def pictures(*sizes: tuple[int, int], seed: int = 0) -> Images:
    generator = torch.Generator().manual_seed(seed)
    return Images.of([torch.randn(3, height, width, generator=generator) for height, width in sizes])


def texts(count: int) -> Tokens:
    return Tokens.of([[2, 7 + number, 3, 3] for number in range(count)])


@pytest.mark.parametrize("name", READERS)
def test_every_system_with_regions_reads_pixels_and_trains_the_backbone(name: str) -> None:
    system = with_pixels(name)
    inputs = Inputs(text=texts(2), images=pictures((64, 64), (64, 64)))
    pooled = system(inputs).pooled
    other = system(Inputs(text=texts(2), images=pictures((64, 64), (64, 64), seed=1))).pooled
    assert torch.isfinite(pooled).all() and not torch.allclose(pooled, other, atol=1e-6)
    pooled.square().sum().backward()
    (first, *_) = system.frontends["pixels"].backbone.parameters()
    assert first.grad is not None and first.grad.abs().sum() > 0


@pytest.mark.parametrize("backbone", ["resnet10t", "vit_tiny_patch16_224", "patches"])
def test_a_picture_gives_the_same_whoever_is_in_its_batch(backbone: str) -> None:
    system = with_pixels("uniter-base", backbone=backbone)
    images = pictures((64, 64), (96, 64), (64, 128))
    together = system(Inputs(text=texts(3), images=images))
    for number, pixels in enumerate((images.pixels[:1, :, :64, :64], images.pixels[1:2, :, :, :64])):
        alone = system(Inputs(text=Tokens.of([[2, 7 + number, 3, 3]]), images=Images(pixels)))
        torch.testing.assert_close(together.pooled[number], alone.pooled[0])


def test_a_frozen_backbone_gives_what_the_extractor_writes() -> None:
    extractor = GridExtractor("resnet10t", size=64).eval()
    system = small("uniter-base", region_dim=512)
    add_frontend(system, "pixels", {"backbone": "resnet10t", "size": 64, "trainable": False})
    frontend = system.frontends["pixels"]
    frontend.backbone.model.load_state_dict(extractor.model.state_dict())
    shown = extractor.prepare(np.random.default_rng(0).integers(0, 256, (48, 80, 3), dtype=np.uint8))
    (stored,) = extractor.extract([Picture("a", (80, 48), shown)])
    features = torch.from_numpy(stored.features)
    regions = Regions(features, torch.from_numpy(stored.boxes), SequenceLayout((len(features),)))
    by_features = system(Inputs(text=texts(1), regions=regions)).pooled
    torch.testing.assert_close(system(Inputs(text=texts(1), images=Images(shown[None]))).pooled, by_features)
    assert not any(parameter.requires_grad for parameter in frontend.parameters())


def test_cells_that_sampling_drops_are_not_read_and_the_others_stay() -> None:
    system = with_pixels("pixel-bert-base", pool=1)
    images = pictures((128, 128), (64, 128))
    layout = SequenceLayout((16, 8))
    boxes = torch.cat([cell_boxes(4, 4), cell_boxes(2, 4)])
    whole = Inputs(text=texts(2), images=images, regions=Regions(torch.zeros(24, 0), boxes, layout))
    read = system.read_raw(whole)
    torch.testing.assert_close(
        read.regions.features, system.read_raw(Inputs(text=texts(2), images=images)).regions.features
    )
    fewer = sampled_cells(whole.regions, 5, torch.Generator().manual_seed(0))
    seen = system.read_raw(whole.with_streams(regions=fewer)).regions
    again = sampled_cells(read.regions, 5, torch.Generator().manual_seed(0))
    assert seen.layout.lengths == (5, 5)
    torch.testing.assert_close(seen.features, again.features)


def test_pixel_bert_pools_its_map_to_a_64th_of_the_picture() -> None:
    system = with_pixels("pixel-bert-base")
    read = system.read_raw(Inputs(text=texts(1), images=pictures((128, 192))))
    assert read.regions.layout.lengths == (2 * 3,) and read.regions.features.shape[1] == 16
    frontend = system.frontends["pixels"]
    assert isinstance(frontend.project, nn.Conv2d) and frontend.project.kernel_size == (3, 3)
    assert (read.regions.features >= 0).all()


def test_the_saved_folder_holds_backbone_and_statistics(tmp_path: Path) -> None:
    system = with_pixels("uniter-base").train()
    for seed in range(3):
        system(Inputs(text=texts(2), images=pictures((64, 64), (64, 64), seed=seed)))  # moves BatchNorm's statistics
    mm_kptm.save(system.eval(), tmp_path / "model")
    loaded = mm_kptm.load(str(tmp_path / "model"))
    inputs = Inputs(text=texts(2), images=pictures((64, 64), (64, 64)))
    assert torch.equal(loaded(inputs).pooled, system(inputs).pooled)
    saved = read_saved(tmp_path / "model")
    assert saved is not None and saved.frontends["pixels"]["backbone"] == "resnet10t"
    fresh = mm_kptm.load(str(tmp_path / "model"), heads={"vqa": {"num_answers": 3}}, fresh=["heads.vqa."])
    assert torch.equal(fresh(inputs).pooled, system(inputs).pooled)


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(UserError, match=r"no frontend is called 'pixel'; did you mean pixels\?"):
        add_frontend(small("uniter-base"), "pixel", {})
    with pytest.raises(UserError, match="pixels has no size 'depth'"):
        add_frontend(small("uniter-base"), "pixels", {"depth": 3})
    system = with_pixels("uniter-base")
    boxes = Regions(torch.zeros(16, 0), cell_boxes(4, 4), SequenceLayout((16,)))
    inputs = Inputs(text=texts(1), images=pictures((64, 64)), regions=boxes)
    with pytest.raises(UserError, match="a region of image 0 is cell 0, 2, but the map of that image has 2 rows and 2"):
        system(inputs)
    two = inputs.with_streams(regions=replace(boxes, layout=SequenceLayout((8, 8))))
    with pytest.raises(UserError, match="there are pixels of 1 images, but regions of 2"):
        system(two)
