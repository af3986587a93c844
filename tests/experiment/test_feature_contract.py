"""A run says before it starts that features were made otherwise than those that its weights were trained on."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mm_kptm import cli, config, experiment
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.errors import UserError, UserNotice
from mm_kptm.experiment.build import build
from mm_kptm.experiment.settings import Experiment
from mm_kptm.vision.features.contract import FeatureContract, read_contract, write_contract
from tests.stores import write_regions

MADE = FeatureContract(extractor="bottom-up", weights="sha256:1", colour_order="bgr", dim=8)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with a contract, questions about its images, and a run on them."""
    draw = np.random.default_rng(0)
    rows = [(f"{n}.jpg", draw.normal(size=(3, 8)), np.tile([0.0, 0.0, 1.0, 1.0], (3, 1))) for n in range(4)]
    write_regions(tmp_path / "regions", rows)
    write_contract(MADE, tmp_path / "regions" / "contract.json")
    asked = [{"image": f"{n}.jpg", "question": "what?", "answers": [f"a{n % 2}"]} for n in range(4)]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    (tmp_path / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, "what", "?"]))
    (tmp_path / "e.yaml").write_text(
        """
        name: e
        task: vqa
        data: {name: custom-image, features: regions, train: q.jsonl, vocabulary: vocab.txt}
        encoder: {recipe: uniter-base, sizes: {num_layers: 1, dim: 16, num_heads: 2, ffn_dim: 16}}
        train: {steps: 1, batch_size: 4}
        """
    )
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "e.yaml"]) == 0
    return tmp_path


def test_the_contract_goes_with_run_and_model(place: Path) -> None:
    assert read_contract(place / "runs/e/contract.json") == MADE == read_contract(place / "runs/e/model/contract.json")


def test_other_features_are_refused_before_anything_is_trained(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree("regions", "others")
    write_contract(replace(MADE, colour_order="rgb"), place / "others" / "contract.json")
    finetuned = ["train", "e.yaml", "--name=second", "--encoder.weights=runs/e/model", "--encoder.sizes={}"]
    assert cli.main([*finetuned, "--data.features=others"]) == 2
    said = capsys.readouterr().err
    assert "others breaks the feature contract of the weights: colour_order is rgb here and bgr there; extract" in said
    assert not (place / "runs" / "second").exists()
    assert cli.main(finetuned) == 0


def test_a_run_is_not_opened_or_resumed_on_features_that_changed(place: Path) -> None:
    write_contract(replace(MADE, weights="sha256:2"), place / "regions" / "contract.json")
    with pytest.raises(UserError, match="regions breaks the feature contract of the weights: weights is sha256:2 here"):
        experiment.evaluate(place / "runs" / "e", "train")
    settings = config.read(Experiment, place / "e.yaml", ["--train.steps=2"])
    with pytest.raises(UserError, match="regions breaks the feature contract"):
        experiment.train(settings, place / "runs" / "e", resume=True, progress=False)


def test_a_store_that_says_nothing_is_pointed_out(place: Path) -> None:
    (place / "regions" / "contract.json").unlink()
    settings = config.read(Experiment, place / "e.yaml", ["--encoder.weights=runs/e/model", "--encoder.sizes={}"])
    with pytest.warns(
        UserNotice, match=r"was trained on features of bottom-up \(weights sha256:1\), but regions has no"
    ):
        build(settings)


def test_features_of_detected_regions_differ_in_which_regions_alone(place: Path) -> None:
    shutil.copytree("regions", "detected")
    images = [{"id": n, "file_name": f"{n}.jpg", "caption": "what", "width": 9, "height": 9} for n in range(4)]
    boxes = [{"image_id": n, "bbox": [0, 0, 9, 9]} for n in range(4)]
    (place / "refs.json").write_text(json.dumps({"images": images, "annotations": boxes}))
    data = "{name: refcoco, expressions: refs.json, features: regions, detected: detected, vocabulary: vocab.txt}"
    settings = config.read(Experiment, place / "e.yaml", ["--task=grounding", f"--data={data}"])
    write_contract(replace(MADE, boxes="regressed", max_boxes=100), place / "detected" / "contract.json")
    build(settings)
    write_contract(replace(MADE, colour_order="rgb"), place / "detected" / "contract.json")
    with pytest.raises(UserError, match=r"data.detected is .*detected, whose .* of data.features: colour_order is rgb"):
        build(settings)
