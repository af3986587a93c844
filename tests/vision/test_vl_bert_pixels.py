"""VL-BERT from pixels: crops of given boxes inside the model, loaded from checkpoints with the official names."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import mm_kptm
from mm_kptm.batch import Images, Inputs, Regions, SequenceLayout, Tokens
from mm_kptm.errors import UserError
from mm_kptm.systems.pretrained import translated
from mm_kptm.systems.system import System
from mm_kptm.vision.boxes import sinusoidal_boxes
from tests.vision.resnets import State, aligned_crop, random_resnet, random_stage, resnet, stage

GOLDEN = Path(__file__).parents[1] / "golden" / "data" / "vlbert" / "refcoco"
WIDTH, BLOCKS = 2, (3, 4, 6)
FIRST = "image_feature_extractor"


def official(*, blocks: tuple[int, ...] = BLOCKS) -> State:
    """A checkpoint of the released RefCOCO+ model, trained end to end, at random weights and small sizes."""
    generator = torch.Generator().manual_seed(0)
    state = load_file(GOLDEN / "weights.safetensors")
    state[f"{FIRST}.obj_downsample.1.weight"] = torch.randn(24, 2048 + 32 * WIDTH, generator=generator) / 40
    body = random_resnet(WIDTH, blocks, generator)
    state |= {f"{FIRST}.backbone.{name}": value for name, value in body.items()}
    head = random_stage("r", 16 * WIDTH, 8 * WIDTH, 3, generator)
    for name, value in head.items():
        state[f"{FIRST}.roi_head_feature_extractor.{name[2:]}"] = value
        state[f"{FIRST}.head.0.{name[2:]}"] = value.clone()
    counted = [name.removesuffix(".weight") for name in state if ".bn" in name and name.endswith(".weight")]
    return state | {f"{name}.num_batches_tracked": torch.tensor(7) for name in counted}


def written(folder: Path, state: State | None = None, **network: Any) -> Path:
    config = json.loads((GOLDEN / "config.json").read_text())
    config["NETWORK"] |= {"IMAGE_FEAT_PRECOMPUTED": False, "IMAGE_NUM_LAYERS": 50, **network}
    (folder / "config.json").write_text(json.dumps(config))
    state = official() if state is None else state
    save_file({f"module.{name}": value for name, value in state.items()}, folder / "weights.safetensors")
    return folder


def loaded(folder: Path, **network: Any) -> System:
    return mm_kptm.load(
        "vl-bert", written(folder, **network), heads=["grounding"], frontends=["rois"], whole_image="first"
    )


def shown() -> Inputs:
    """Two pictures of different shapes with two and three boxes; the first box is the whole image."""
    generator = torch.Generator().manual_seed(1)
    pictures = [torch.randn(3, 64, 96, generator=generator), torch.randn(3, 80, 64, generator=generator)]
    boxes = torch.tensor([
        [0, 0, 95 / 96, 63 / 64], [0.1, 0.2, 0.8, 0.9],
        [0, 0, 63 / 64, 79 / 80], [0.5, 0.5, 0.55, 0.52], [0.3, 0.0, 1.0, 0.6],
    ])  # fmt: skip
    regions = Regions(torch.zeros(5, 0), boxes, SequenceLayout((2, 3)))
    return Inputs(text=Tokens.of([[2, 7, 8, 3], [2, 9, 3]]), images=Images.of(pictures), regions=regions)


def expected(state: State, inputs: Inputs, *, dilated: bool = True) -> Tensor:
    """The features of all boxes by plain functions on the official names: BGR in, one crop after the other."""
    body = {name.removeprefix(f"{FIRST}.backbone."): value for name, value in state.items()}
    head = {name.replace(f"{FIRST}.roi_head_feature_extractor", "r"): value for name, value in state.items()}
    features = []
    for number, boxes in enumerate(inputs.regions.layout.split(inputs.regions.boxes)):
        height, width = inputs.images.size_of(number)
        pixels = inputs.images.pixels[number : number + 1, [2, 1, 0], :height, :width]
        cells = resnet(body, pixels, stages=3)[0]
        for box in (boxes * torch.tensor([width, height, width, height])).tolist():
            crop = aligned_crop(cells, box)[None]
            out = stage(head, "r", crop, dilation=2) if dilated else stage(head, "r", crop, stride=2)
            features.append(out.mean((2, 3))[0])
    return torch.stack(features)


@pytest.mark.parametrize("dilated", [True, False])
def test_the_features_of_boxes_are_those_of_the_released_network(tmp_path: Path, dilated: bool) -> None:
    system, inputs = loaded(tmp_path, IMAGE_C5_DILATED=dilated), shown()
    features = system.read_raw(inputs).regions.features
    torch.testing.assert_close(features, expected(official(), inputs, dilated=dilated), atol=1e-5, rtol=1e-4)
    assert features.shape == (5, 32 * WIDTH)


def test_pixels_and_boxes_are_one_path_to_the_scores_of_regions(tmp_path: Path) -> None:
    state, inputs = official(), shown()
    system = loaded(tmp_path)
    encoded = system(inputs)
    features = expected(state, inputs)
    given = inputs.with_streams(images=None, regions=replace(inputs.regions, features=features))
    without = mm_kptm.load("vl-bert", tmp_path, heads=["grounding"], whole_image="first")
    assert not without.frontends
    torch.testing.assert_close(encoded.regions, without(given).regions, atol=1e-5, rtol=1e-4)
    described = torch.cat([sinusoidal_boxes(inputs.regions.boxes), features], dim=1)
    row = described @ state[f"{FIRST}.obj_downsample.1.weight"].T + state[f"{FIRST}.obj_downsample.1.bias"]
    vectors = system.encoder.embed.regions(system.read_raw(inputs).regions)
    torch.testing.assert_close(vectors, row.relu(), atol=1e-5, rtol=1e-4)


def test_company_changes_nothing(tmp_path: Path) -> None:
    system, inputs = loaded(tmp_path), shown()
    together = system(inputs)
    for number, text in enumerate(([2, 7, 8, 3], [2, 9, 3])):
        height, width = inputs.images.size_of(number)
        boxes = list(inputs.regions.layout.split(inputs.regions.boxes))[number]
        alone = Inputs(
            text=Tokens.of([text]),
            images=Images(inputs.images.pixels[number : number + 1, :, :height, :width]),
            regions=Regions(torch.zeros(len(boxes), 0), boxes, SequenceLayout((len(boxes),))),
        )
        torch.testing.assert_close(together.pooled[number], system(alone).pooled[0], atol=1e-5, rtol=1e-4)


def test_the_whole_image_is_one_more_crop_where_no_region_is_it(tmp_path: Path) -> None:
    """The box of the whole image ends one pixel inside the picture, as in the released data."""
    inputs = shown()
    system = mm_kptm.load("vl-bert", written(tmp_path), heads=["grounding"], frontends=["rois"])
    kept = torch.tensor([1, 3, 4])
    given = replace(inputs.regions, features=torch.zeros(3, 0), boxes=inputs.regions.boxes[kept])
    fewer = inputs.with_streams(regions=replace(given, layout=SequenceLayout((1, 2))))
    features = expected(official(), inputs)
    found = system.read_raw(fewer).regions
    torch.testing.assert_close(found.whole_image, features[[0, 2]], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.features, features[kept], atol=1e-5, rtol=1e-4)
    assert system(fewer).regions.shape == (3, 24)
    nothing = system(inputs.with_streams(regions=None))  # the whole image is all that is seen
    assert nothing.regions.shape == (0, 24) and torch.isfinite(nothing.pooled).all()


def test_masked_boxes_are_not_seen_by_other_regions(tmp_path: Path) -> None:
    system, inputs = loaded(tmp_path), shown()
    hidden = torch.tensor([False, True, False, False, False])
    masked = inputs.with_streams(regions=replace(inputs.regions, masked=hidden))
    pixels = inputs.images.pixels.clone()
    pixels[0, :, 20:40, 20:60] += 3  # inside the masked box
    other = masked.with_streams(images=replace(inputs.images, pixels=pixels))
    seen, again = (system.read_raw(one).regions.features for one in (masked, other))
    assert torch.equal(seen, again)
    assert not torch.allclose(seen[0], system.read_raw(inputs).regions.features[0])
    torch.testing.assert_close(seen[2:], system.read_raw(inputs).regions.features[2:])


def test_masks_weigh_the_cells_of_a_crop(tmp_path: Path) -> None:
    """The released code multiplies res5 by the mask before the mean; the whole image is not masked."""
    system, inputs = loaded(tmp_path), shown()
    masks = torch.ones(5, 14, 14)
    masks[1, :, 7:], masks[4] = 0, 0
    cut = system.read_raw(inputs.with_streams(regions=replace(inputs.regions, object_masks=masks))).regions
    plain = system.read_raw(inputs).regions
    assert cut.object_masks is None and not cut.features[4].any()
    torch.testing.assert_close(cut.features[[0, 2, 3]], plain.features[[0, 2, 3]])
    torch.testing.assert_close(cut.whole_image, plain.whole_image)
    masks[1] = 1 - masks[1]
    other = system.read_raw(inputs.with_streams(regions=replace(inputs.regions, object_masks=masks))).regions
    torch.testing.assert_close(cut.features[1] + other.features[1], plain.features[1], atol=1e-5, rtol=1e-4)
    torn = inputs.with_streams(regions=replace(inputs.regions, object_masks=masks[:, ::2, ::2]))
    with pytest.raises(UserError, match="masks of objects have 7 x 7 cells, but crops have 14 x 14"):
        system.read_raw(torn)


def test_the_first_stages_and_all_norms_stay_as_they_are(tmp_path: Path) -> None:
    system = loaded(tmp_path).train()
    statistics = {name: value.clone() for name, value in system.named_buffers()}
    system(shown()).pooled.square().sum().backward()
    frontend = system.frontends["rois"]
    trained = {name for name, value in frontend.named_parameters() if value.grad is not None and value.grad.any()}
    parts = {name.split(".")[1] if name.startswith("body") else "res5" for name in trained}
    assert parts == {"layer2", "layer3", "res5"} and not any(".bn" in name for name in trained)
    assert all(torch.equal(value, statistics[name]) for name, value in system.named_buffers())


def test_a_saved_folder_holds_the_network(tmp_path: Path) -> None:
    (tmp_path / "official").mkdir()
    system, inputs = loaded(tmp_path / "official"), shown()
    mm_kptm.save(system, tmp_path / "model")
    assert torch.equal(mm_kptm.load(str(tmp_path / "model"))(inputs).pooled, system(inputs).pooled)


def test_every_published_name_has_its_place(tmp_path: Path) -> None:
    translation = translated("vl-bert", written(tmp_path))
    assert not translation.strangers
    left = {name: reason for name, reason in translation.left.items() if FIRST in name}
    assert all(name.endswith("num_batches_tracked") or ".head.0." in name for name in left)


def test_what_no_released_model_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="OUTPUT_CONV5 to True, with which a second res5 reads the whole"):
        loaded(tmp_path, OUTPUT_CONV5=True)
    with pytest.raises(UserError, match=r"IMAGE_FROZEN_BACKBONE_STAGES to \[3\], but the stages that are not trained"):
        loaded(tmp_path, IMAGE_FROZEN_BACKBONE_STAGES=[3])
    written(tmp_path, official(blocks=(3, 4, 5)))
    with pytest.raises(UserError, match="the third stage of this ResNet has 5 bottleneck blocks"):
        mm_kptm.load("vl-bert", tmp_path, heads=["grounding"], frontends=["rois"])
    other = official()
    other[f"{FIRST}.head.0.0.conv1.weight"] += 1
    written(tmp_path, other)
    with pytest.raises(UserError, match=r"head.0.0.conv1.weight should repeat .*roi_head_feature_extractor.0.conv1"):
        mm_kptm.load("vl-bert", tmp_path, heads=["grounding"], frontends=["rois"])


def test_boxes_of_other_images_and_encoders_of_other_widths_are_named(tmp_path: Path) -> None:
    system, inputs = loaded(tmp_path), shown()
    wrong = inputs.with_streams(regions=replace(inputs.regions, layout=SequenceLayout((1, 2, 2))))
    with pytest.raises(UserError, match="there are pixels of 2 images, but boxes of 3; give every image its boxes"):
        system(wrong)
    with pytest.raises(UserError, match="vl-bert-base reads regions of 64 features, but this ResNet gives 2048"):
        mm_kptm.load("vl-bert", tmp_path, heads=["grounding"], frontends={"rois": {"width": 64}}, whole_image="first")
