"""Pictures and boxes together, from an experiment file: the features of boxes are computed inside the model."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from mm_kptm import cli, config
from mm_kptm.data.formats.vision.boxes import read_boxes
from mm_kptm.data.sampler import seeded
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import build
from mm_kptm.experiment.settings import Experiment
from mm_kptm.nn.backbones.caffe_resnet import CaffeResNet
from mm_kptm.vision.modules.roi_regions import RoiRegions
from tests.stores import write_regions

SMALL = {
    "dim": 16,
    "num_layers": 1,
    "num_heads": 2,
    "ffn_dim": 32,
    "visual_dim": 16,
    "box_frequencies": 2,
    "visual_scale": 0.3,
}
BOXES = ([[0, 0, 32, 24], [16, 12, 48, 36]], [[8, 0, 40, 48]])


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two pictures, questions about them, and boxes in them: lines of JSON, and a store of region features."""
    draw = np.random.default_rng(0)
    (tmp_path / "photos" / "movie").mkdir(parents=True)
    for name, size in (("a.png", (64, 48)), ("b.png", (48, 60))):
        Image.fromarray(draw.integers(0, 256, (size[1], size[0], 3), np.uint8)).save(tmp_path / "photos" / name)
    asked = [{"image": name, "question": "what is it ?", "answers": [name[0]]} for name in ("a.png", "b.png")]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    square = [[[0, 0], [16, 0], [16, 24], [0, 24]]]
    rows: list[dict[str, Any]] = [{"image": "a.png", "boxes": BOXES[0]}, {"image": "b", "boxes": BOXES[1]}]
    (tmp_path / "boxes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows[0]["segms"] = [square, []]
    (tmp_path / "outlined.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    scales = ([64, 48] * 2, [48, 60] * 2)
    write_regions(
        tmp_path / "regions",
        [
            (name, np.ones((len(boxes), 8)), np.array(boxes) / scale)
            for name, boxes, scale in zip("ab", BOXES, scales, strict=True)
        ],
    )
    (tmp_path / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, "what", "is", "it", "?", "why"]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(data: dict[str, Any], recipe: str = "vl-bert-base", task: str = "vqa", **vision: Any) -> Path:
    sizes = SMALL if recipe.startswith("vl-bert") else {"dim": 16, "num_layers": 1, "num_heads": 2, "ffn_dim": 32}
    chosen = {"backbone": "caffe-resnet50", "regions": "boxes", "size": 40, **vision}
    settings = {
        "name": "boxed",
        "task": task,
        "data": {"name": "custom-image", "images": "photos", "train": "q.jsonl", "vocabulary": "vocab.txt", **data},
        "encoder": {"recipe": recipe, "sizes": sizes, "vision": chosen},
        "train": {"steps": 1, "batch_size": 2, "lr": 1e-3},
    }
    Path("e.yaml").write_text(json.dumps(settings))
    return Path("e.yaml")


def read(*args: Any, **kwargs: Any) -> Experiment:
    return config.read(Experiment, written(*args, **kwargs))


@pytest.mark.parametrize("boxes", ["boxes.jsonl", "regions"])
def test_boxes_of_a_file_or_a_store_are_the_regions(place: Path, boxes: str) -> None:
    built = build(read({"boxes": boxes}))
    inputs = built.source("train").batch([0, 1], seeded(0)).inputs
    assert inputs.regions.layout.lengths == (2, 1)
    expected = np.concatenate([np.array(BOXES[0]) / ([64, 48] * 2), np.array(BOXES[1]) / ([48, 60] * 2)])
    np.testing.assert_allclose(inputs.regions.boxes, expected, rtol=1e-5)
    assert inputs.regions.features.shape == (3, 0)
    assert [inputs.images.size_of(n) for n in (0, 1)] == [(40, 53), (50, 40)]  # the short side has 40 pixels
    assert isinstance(built.system.frontends["rois"], RoiRegions)
    seen = built.system.eval().read_raw(inputs).regions
    assert seen.features.shape == (3, 2048) and seen.whole_image.shape == (2, 2048)


def test_it_trains_answers_and_opens_again(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", str(written({"boxes": "outlined.jsonl"}))]) == 0
    saved = json.loads(Path("runs/boxed/model/config.json").read_text())
    assert saved["frontends"]["rois"]["layers"] == 50 and saved["frontends"]["rois"]["frozen"] == 0
    assert cli.main(["evaluate", "runs/boxed", "--split", "train"]) == 0
    capsys.readouterr()
    asked = ["ask", "runs/boxed", "photos/a.png", "what is it ?"]
    assert cli.main([*asked, "--box", "0", "0", "32", "24", "--box", "16", "12", "48", "36", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {one["answer"] for one in found} == {"", "b"}  # VQA drops articles, such as the answer "a"
    assert sum(one["probability"] for one in found) == pytest.approx(1)
    for boxes, sentence in (
        ([], "give each as --box X1 Y1 X2 Y2, in pixels"),
        (["--box", "9", "0", "8", "5"], "--box 9 0 8 5 is no box; it takes the left, top, right and bottom edge in"),
        (["--box", "0", "0", "65", "5"], "reaches outside of its 64 x 48 pixels"),
    ):
        assert cli.main([*asked, *boxes]) == 2
        assert sentence in capsys.readouterr().err


def test_a_run_of_expressions_answers_with_boxes(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    meant = {"a.png": [0, 0, 0.5, 0.5], "b.png": [0, 0, 1, 1]}
    said = [{"image": name, "text": "what", "box": box} for name, box in meant.items()]
    Path("q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in said))
    assert cli.main(["train", str(written({"boxes": "boxes.jsonl"}, task="grounding"))]) == 0
    capsys.readouterr()
    asked = ["ask", "runs/boxed", "photos/a.png", "what"]
    assert cli.main([*asked, "--box", "0", "0", "32", "24", "--box", "16", "12", "48", "36", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {one["answer"] for one in found} == {"0 0 32 24", "16 12 48 36"}
    assert sum(one["probability"] for one in found) == pytest.approx(1)


def test_outlines_become_masks(place: Path) -> None:
    inputs = build(read({"boxes": "outlined.jsonl"})).source("train").batch([0, 1], seeded(0)).inputs
    masks = inputs.regions.object_masks
    assert masks.shape == (3, 14, 14)
    assert masks[0, :, :7].all() and not masks[0, :, 7:].any()  # its outline is the left half of its box
    assert not masks[1].any() and masks[2].all()  # no polygon; and no outlines at all


@pytest.mark.parametrize("recipe", ["uniter-base", "lxmert-base"])
def test_other_systems_read_boxes_of_pictures_too(place: Path, recipe: str) -> None:
    settings = read({"boxes": "boxes.jsonl"}, recipe)
    if recipe == "lxmert-base":
        settings.encoder.sizes.update(num_region_layers=1, num_cross_layers=1)
    built = build(settings)
    assert built.task is not None
    assert torch.isfinite(built.task.logits(built.source("train").batch([0, 1], seeded(0)))).all()


def test_pretraining_hides_boxes_of_pictures(place: Path) -> None:
    """Masked regions are zero in the pixels; the detector's classes of them come from the store that has the boxes."""
    np.save("regions/class_probs.npy", np.eye(3, 5, dtype="<f2"))
    said = [{"image": name, "captions": ["it is what ?"]} for name in ("a.png", "b.png")]
    Path("said.jsonl").write_text("".join(json.dumps(row) + "\n" for row in said))
    settings = json.loads(written({"boxes": "regions"}).read_text())
    settings |= {"task": None, "objectives": {"masked-tokens": 1.0, "masked-region-classes": 1.0}}
    settings["data"] |= {"name": "image-text-pairs", "train": "said.jsonl"}
    Path("e.yaml").write_text(json.dumps(settings))
    built = build(config.read(Experiment, Path("e.yaml")))
    built.model.loss(built.training.batch([0, 1], seeded(0))).backward()
    grad = built.system.frontends["rois"].res5[0].conv1.weight.grad
    assert grad is not None and bool(grad.any())


def test_weights_of_a_resnet_fill_the_network(place: Path) -> None:
    torch.manual_seed(0)
    state = CaffeResNet(50).state_dict()
    state["fc.weight"] = torch.zeros(1)
    save_file(state, "resnet.safetensors")
    network = build(read({"boxes": "boxes.jsonl"}, weights="resnet.safetensors")).system.frontends["rois"]
    assert torch.equal(network.body.layer3[0].conv1.weight, state["layer3.0.conv1.weight"])
    assert torch.equal(network.res5[2].bn3.weight, state["layer4.2.bn3.weight"])
    assert not network.body.conv1.weight.requires_grad  # the published stages keep published weights
    del state["layer4.2.bn3.weight"]
    save_file(state, "torn.safetensors")
    with pytest.raises(UserError, match=r"torn.* are not the weights of this ResNet: it lacks res5.2.bn3.weight"):
        build(read({"boxes": "boxes.jsonl"}, weights="torn.safetensors"))


@pytest.mark.parametrize(
    ("data", "vision", "sentence"),
    [
        ({}, {}, "encoder.vision.regions is boxes, but data.boxes does not say which"),
        ({"boxes": "boxes.jsonl"}, {"regions": "cells"}, "encoder.vision makes regions of the cells of a grid"),
        ({"boxes": "boxes.jsonl"}, {"backbone": "resnet18"}, "backbone is resnet18; take caffe-resnet50"),
        ({"boxes": "boxes.jsonl"}, {"pool": 2}, "encoder.vision.pool is of the cells of a grid, but regions is boxes"),
        ({"boxes": "boxes.jsonl", "images": None, "features": "regions"}, {}, "but data.images is not set"),
        ({"boxes": "few.jsonl"}, {}, "there are boxes of 1 images, but none of picture 'b.png'"),
        ({"boxes": "outside.jsonl"}, {}, "a box of image a.png reaches outside of its 64 x 48 pixels"),
        ({"boxes": "torn.jsonl"}, {}, r"boxes\[0\] must hold x1, y1, x2, y2 in pixels, with x1 <= x2"),
    ],
)
def test_what_does_not_fit_is_a_sentence(
    place: Path, data: dict[str, Any], vision: dict[str, Any], sentence: str
) -> None:
    for name, boxes in (("few", BOXES[0]), ("outside", [[0, 0, 500, 10]]), ("torn", [[9, 0, 3, 10]])):
        rows = [{"image": "a.png", "boxes": boxes}] + [{"image": "b.png", "boxes": []}] * (name != "few")
        Path(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match=sentence):
        build(read(data, **vision)).source("train").batch([0, 1], seeded(0))


def vcr(place: Path, *, boxes: int = 2) -> dict[str, Any]:
    """Questions about a film scene in the published format, with the file of its objects beside the picture."""
    (place / "photos" / "movie" / "0.png").write_bytes((place / "photos" / "a.png").read_bytes())
    about = {
        "boxes": [[*box, 0.9] for box in BOXES[0][:boxes]],
        "segms": [[[[0, 0], [16, 0], [16, 24], [0, 24]]], [[[16, 12], [48, 12], [48, 36], [16, 36]]]][:boxes],
        "names": ["person", "hat"][:boxes],
        "width": 64,
        "height": 48,
    }
    (place / "photos" / "movie" / "0.json").write_text(json.dumps(about))
    choices = [["it", "is", [1]], ["why", [0]], ["what"], ["it"]]
    row = {
        "annot_id": "train-0",
        "img_fn": "movie/0.png",
        "metadata_fn": "movie/0.json",
        "objects": ["person", "hat"],
        "question": ["why", "is", [0], "?"],
        "answer_choices": choices,
        "rationale_choices": choices,
        "answer_label": 1,
        "rationale_label": 0,
    }
    (place / "vcr.jsonl").write_text(json.dumps(row) + "\n")
    return {"name": "vcr", "train": "vcr.jsonl"}


def test_vcr_reads_boxes_and_outlines_beside_its_pictures(place: Path) -> None:
    built = build(read(vcr(place), task="vcr"))
    inputs = built.source("train").batch([0, 1], seeded(0)).inputs
    np.testing.assert_allclose(inputs.regions.boxes, np.array(BOXES[0]) / ([64, 48] * 2), rtol=1e-5)
    masks = inputs.regions.object_masks
    assert masks[0, :, :7].all() and not masks[0, :, 7:].any() and masks[1].all()
    assert built.task is not None
    assert torch.isfinite(built.task(inputs)).all()


def test_vcr_wants_as_many_boxes_as_objects(place: Path) -> None:
    built = build(read(vcr(place, boxes=1), task="vcr"))
    with pytest.raises(UserError, match=r"image movie/0.png has 1 boxes, but 2 objects"):
        built.source("train").batch([0], seeded(0))
    settings = read(vcr(place), task="vcr", regions="cells", backbone="resnet10t")
    with pytest.raises(UserError, match=r"questions of VCR name objects, but encoder.vision makes no regions"):
        build(settings)


def test_the_page_shows_it(place: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "vision.md").read_text(encoding="utf-8")
    (settings,) = re.findall(r"^```yaml\n# boxes.yaml\n(.+?)^```", page, re.MULTILINE | re.DOTALL)
    (line,) = re.findall(r'^(\{"image": .*"boxes": .*\})$', page, re.MULTILINE)
    Path("shown.jsonl").write_text(line + "\n")
    (found,) = read_boxes("shown.jsonl")
    assert found.image == "chelsea.png" and len(found.boxes) == 2
    Path("page.yaml").write_text(settings)
    shown = config.read(Experiment, Path("page.yaml"))
    assert (shown.encoder.vision.regions, shown.data.boxes) == ("boxes", Path("boxes.jsonl"))
