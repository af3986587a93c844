"""Extractors keep their contract: sizes, boxes, colours, weights, and torchvision's own numbers."""

from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from mm_kptm.errors import UserError
from mm_kptm.nn.backbones.caffe_resnet import CAFFE_MEANS
from mm_kptm.vision.extractors.bottom_up import BottomUpDetector
from mm_kptm.vision.extractors.build import ExtractorSettings, build_extractor, extractor_of
from mm_kptm.vision.extractors.cells import GridExtractor, PatchExtractor
from mm_kptm.vision.extractors.extractor import Picture
from mm_kptm.vision.extractors.resizing import ShortSide
from mm_kptm.vision.extractors.selection import SelectionRule
from mm_kptm.vision.features.contract import FeatureContract, inconsistencies

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (48, 64, 3), dtype=np.uint8)


def picture(built, pixels=PIXELS, name="a.png"):
    return Picture(name, (pixels.shape[1], pixels.shape[0]), built.prepare(pixels))


def tiny_bottom_up(**options):
    torch.manual_seed(0)
    options = {"resize": ShortSide(96, 160), "selection": SelectionRule(3, 6, 0.0), **options}
    return BottomUpDetector(5, 4, blocks=(1, 1, 1, 1), **options).eval()


def test_the_bottom_up_detector_says_everything():
    detector = tiny_bottom_up()
    (found,) = detector.extract([picture(detector)])
    assert 3 <= len(found) <= 6
    assert found.features.shape[1] == detector.contract.dim == 2048
    assert (found.features >= 0).all()  # the mean of a ReLU
    assert found.boxes.min() >= 0
    assert found.boxes[:, [0, 2]].max() < 64
    assert found.boxes[:, [1, 3]].max() < 48
    assert found.class_probs.shape[1] == 6
    assert found.attribute_probs.shape[1] == 5
    np.testing.assert_array_equal(found.object_ids, found.class_probs[:, 1:].argmax(axis=1))
    np.testing.assert_allclose(found.object_confidences, found.class_probs[:, 1:].max(axis=1))
    assert (found.confidences <= found.object_confidences + 1e-6).all()
    assert inconsistencies(detector.contract) == []


def test_the_backbone_is_caffes():
    """The stride lies in the first convolution of a stage, res5 is dilated and keeps the crop's size."""
    detector = tiny_bottom_up()
    stages = list(detector.backbone)[-2:]
    assert [stage[0].conv1.stride for stage in stages] == [(2, 2)] * 2
    assert [stage[0].conv2.stride for stage in stages] == [(1, 1)] * 2
    assert detector.res5(torch.zeros(1, 1024, 14, 14)).shape == (1, 2048, 14, 14)
    assert detector.res5[0].conv2.dilation == (2, 2)
    cells = detector.backbone(torch.zeros(1, 3, 600, 800))
    assert cells.shape[2:] == (38, 50)  # 600 / 16 and 800 / 16, a partial last window counted


def test_colours_are_blue_green_red_for_the_bottom_up_detector():
    red = np.zeros((60, 60, 3), np.uint8)
    red[:, :, 0] = 255
    prepared = tiny_bottom_up(resize=ShortSide(60, 100)).prepare(red)
    expected = torch.tensor([0, 0, 255]) - torch.tensor(CAFFE_MEANS)
    torch.testing.assert_close(prepared[:, 5, 5], expected)


@pytest.mark.parametrize(
    ("name", "cells", "regions"),
    [
        ("resnet18", None, 4),
        ("resnet18", 1, 1),
        ("vit_tiny_patch16_224", None, 16),
        ("swin_tiny_patch4_window7_224", None, 4),
    ],
)
def test_any_backbone_gives_a_grid(name, cells, regions):
    extractor = GridExtractor(name, size=64, cells=cells).eval()
    (found,) = extractor.extract([picture(extractor)])
    assert found.features.shape == (regions, extractor.contract.dim)
    assert found.fractions
    assert found.boxes[0, :2].tolist() == [0, 0]
    assert found.boxes[-1, 2:].tolist() == [1, 1]


def test_a_grid_has_the_features_of_its_backbone():
    torch.manual_seed(0)
    extractor = GridExtractor("resnet18", size=96).eval()
    (found,) = extractor.extract([picture(extractor)])
    with torch.no_grad():
        cells = extractor.model.forward_features(picture(extractor).prepared[None])[0]
    np.testing.assert_allclose(found.features[5], cells[:, 1, 2].numpy(), rtol=1e-5)  # 3 x 3 cells
    np.testing.assert_allclose(found.boxes[5], [2 / 3, 1 / 3, 1, 2 / 3], rtol=1e-6)


def test_patches_are_the_pixels():
    extractor = PatchExtractor(size=64, patch=32)
    pixels = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    (found,) = extractor.extract([picture(extractor, pixels)])
    patch = pixels[:32, 32:].transpose(2, 0, 1).reshape(-1) / 127.5 - 1
    np.testing.assert_allclose(found.features[1], patch, atol=1e-6)
    assert found.boxes[1].tolist() == [0.5, 0, 1, 0.5]


def test_torchvisions_proposals_and_features():
    """Boxes are the unregressed proposals of the detector, features those of its own box head."""
    settings = ExtractorSettings(
        "torchvision", "fasterrcnn_mobilenet_v3_large_320_fpn", size=64, min_boxes=5, max_boxes=5, num_classes=3
    )
    built = build_extractor(settings, None)
    model = built.extractor.model
    (found,) = built.extract([picture(built)])
    seen = {}
    handle = model.roi_heads.box_head.register_forward_hook(lambda _, __, output: seen.update(features=output))
    rpn = model.rpn.register_forward_hook(lambda _, __, output: seen.update(boxes=output[0][0]))
    with torch.no_grad():
        model([built.prepare(PIXELS)])
    handle.remove()
    rpn.remove()
    scale = model.transform([built.prepare(PIXELS)])[0].image_sizes[0][0] / 48
    for row, box in zip(found.features, found.boxes, strict=True):
        distance = (seen["boxes"] / scale - torch.tensor(box)).abs().amax(dim=1)
        place = int(distance.argmin())
        assert distance[place] < 0.5  # width and height are rounded apart
        np.testing.assert_allclose(row, seen["features"][place].numpy(), rtol=1e-4, atol=1e-5)


def test_fresh_weights_are_those_of_the_seed():
    settings = ExtractorSettings("grid", "resnet18", size=64)
    one, two = (build_extractor(settings, None) for _ in range(2))
    other = build_extractor(replace(settings, seed=1), None)
    features = [built.extract([picture(built)])[0].features for built in (one, two, other)]
    np.testing.assert_array_equal(features[0], features[1])
    assert not np.allclose(features[0], features[2])
    assert one.contract.weights == "none, seed 0"


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_weights_of_a_file_are_used_and_named(tmp_path, suffix):
    torch.manual_seed(5)
    model = timm.create_model("resnet18", pretrained=False)  # with its classifier, as published
    file = tmp_path / f"weights.{suffix}"
    save_file(model.state_dict(), file) if suffix == "safetensors" else torch.save(model.state_dict(), file)
    built = build_extractor(ExtractorSettings("grid", "resnet18", size=64), file)
    with torch.no_grad():
        expected = model.eval().forward_features(picture(built).prepared[None])[0].flatten(1).T
    np.testing.assert_allclose(built.extract([picture(built)])[0].features, expected.numpy(), rtol=1e-4, atol=1e-5)
    assert built.contract.weights.startswith("sha256:")
    again = extractor_of(built.contract, file)
    assert again.contract == built.contract
    with pytest.raises(UserError, match=r"the features were made with the weights sha256:.*, but those given are none"):
        extractor_of(built.contract, None)


def test_torchvisions_first_weights_have_frozen_norms(tmp_path):
    """Without counters of batches they were trained with an epsilon of 0."""
    name = "fasterrcnn_mobilenet_v3_large_320_fpn"
    model = torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=4)
    state = {key: value for key, value in model.state_dict().items() if not key.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "w.pth")
    settings = ExtractorSettings("torchvision", name, num_classes=3)
    built = build_extractor(settings, tmp_path / "w.pth")
    norms = [module.eps for module in built.extractor.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert set(norms) == {0.0}
    torch.save(model.state_dict(), tmp_path / "w2.pth")
    built = build_extractor(settings, tmp_path / "w2.pth")
    norms = [module.eps for module in built.extractor.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert 0.0 not in norms


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ExtractorSettings("detectron"),
            "'detectron' is no extractor; there are bottom-up, torchvision, grid, patches",
        ),
        (ExtractorSettings("grid"), "the extractor grid needs the name of a model"),
        (ExtractorSettings("grid", "resnet19"), r"timm has no backbone 'resnet19'; did you mean resnet18\?"),
        (
            ExtractorSettings("torchvision", "retinanet_resnet50_fpn"),
            "torchvision has no detector 'retinanet_resnet50_fpn'",
        ),
        (ExtractorSettings("grid", "vit_tiny_patch16_224", size=50), "cuts patches of 16 pixels, which do not fill 50"),
        (ExtractorSettings("grid", "inception_v3", size=10), "gives no grid for pictures of 10 x 10 pixels"),
        (ExtractorSettings("patches", size=100, patch=32), "100 pixels cannot be cut into patches of 32"),
        (ExtractorSettings(min_boxes=5, max_boxes=3), "5 to 3 boxes cannot be kept"),
        (ExtractorSettings("patches", size=0), "size of an extractor must be at least 1, but it is 0"),
    ],
)
def test_what_cannot_be_built_is_named(settings, message):
    with pytest.raises(UserError, match=message):
        build_extractor(settings, None)


def test_weights_of_something_else_are_named(tmp_path):
    settings = ExtractorSettings("grid", "resnet18", size=64)
    with pytest.raises(UserError, match=r"there is no file .*nowhere\.pth; give the path"):
        build_extractor(settings, tmp_path / "nowhere.pth")
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"are not the weights of this extractor: it lacks bn1\.bias, "):
        build_extractor(settings, tmp_path / "a.safetensors")
    state = timm.create_model("resnet18", pretrained=False, num_classes=0).state_dict()
    state["conv1.weight"] = torch.zeros(64, 3, 3, 3)
    torch.save(state, tmp_path / "b.pth")
    with pytest.raises(
        UserError, match=r"conv1\.weight has the shape \[64, 3, 3, 3\], but here it has \[64, 3, 7, 7\]"
    ):
        build_extractor(settings, tmp_path / "b.pth")
    (tmp_path / "c.pth").write_bytes(b"hello")
    with pytest.raises(UserError, match=r"c\.pth is a text file"):
        build_extractor(settings, tmp_path / "c.pth")
    torch.save([1, 2], tmp_path / "d.pth")
    with pytest.raises(UserError, match=r"d\.pth holds no state dict"):
        build_extractor(settings, tmp_path / "d.pth")
    with pytest.raises(UserError, match="patches are raw pixels and take no weights"):
        build_extractor(ExtractorSettings("patches"), tmp_path / "a.safetensors")


def test_a_contract_without_settings_builds_nothing():
    with pytest.raises(UserError, match="the contract of 'somebody' does not say how to build its extractor"):
        extractor_of(FeatureContract(extractor="somebody"), None)
