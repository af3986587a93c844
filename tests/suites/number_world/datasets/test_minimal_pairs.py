"""Minimal pairs of scenes: the same words in another order, and pictures that differ by just that exchange."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import mm_kptm
from mm_kptm import cli
from mm_kptm.datasets.protocol import DataRequest
from mm_kptm.suites.number_world.datasets.minimal_pairs import pairs
from mm_kptm.suites.number_world.datasets.settings import NumberWorldData
from mm_kptm.suites.number_world.generator.captions import describe, minimal_pairs
from mm_kptm.systems.discovery import find
from mm_kptm.tasks.vision.two_towers.minimal_pairs import GROUP, IMAGE, TEXT, EncodedPairBatch, MinimalPairs
from tests.small_towers import SIZES

TEXT_SIZES = {name: one for name, one in SIZES["dual-tower-regions"]["text"].items() if name != "vocab_size"}
REGIONS = {**SIZES["dual-tower-regions"], "text": TEXT_SIZES}
DATA = NumberWorldData(name="number-world", split="world", eval_questions=40)


def test_the_captions_have_the_same_words_and_are_true_of_their_scene_alone() -> None:
    scenes, found = minimal_pairs(DATA.side("test"), 40, DATA.draw("pairs", "test"))
    assert {one.kind for one in found} == {"colours", "order"}
    assert {one.language for one in found} == set(DATA.side("test").languages)
    for one in found:
        first, second = one.captions
        assert sorted(first.words) == sorted(second.words) and first.words != second.words
        for scene, caption in zip(one.scenes, one.captions, strict=True):
            forms = (describe(scenes.things(scene), one.language, form).text for form in DATA.side("test").forms)
            assert caption.text in list(forms)
        before, after = (scenes.crops[scenes.rows(scene)] for scene in one.scenes)
        same = [np.abs(a.astype(int) - b.astype(int)).max() < 64 for a, b in zip(before, after, strict=True)]
        assert same.count(False) == 2, "ink of two numbers changes, and noise of the paper"


class Knowing:
    """Vectors by which every caption belongs to its image; ``wrong`` exchanges the images of the first pairs."""

    def __init__(self, wrong: int) -> None:
        self.wrong = wrong

    def __call__(self, batch: EncodedPairBatch) -> tuple[torch.Tensor, torch.Tensor]:
        texts = torch.eye(2 * len(batch))
        order = [place ^ 1 if place < 2 * self.wrong else place for place in range(2 * len(batch))]
        return texts[order], texts


@pytest.mark.parametrize(("wrong", "score"), [(0, 1.0), (10, 0.75), (40, 0.0)])
def test_who_knows_the_truth_is_right(wrong: int, score: float, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = pairs(DATA, DataRequest(find("dual-tower-regions")))
    source = prepared.sources["test"]()
    sizes = {name: prepared.sizes[name] for name in ("vocab_size", "region_dim")}
    system = mm_kptm.build("dual-tower-regions", **{**REGIONS, **sizes})
    task = MinimalPairs(system)
    rows = task.predict(source.batch(range(40), torch.Generator()))
    assert all(0 <= value <= 1 for value in task.summary(rows).values()), "of fresh towers"
    monkeypatch.setattr(task, "_vectors", Knowing(wrong))
    rows = task.predict(source.batch(range(40), torch.Generator()))
    assert task.summary(rows) == {TEXT: score, IMAGE: score, GROUP: score}
    assert prepared.baselines("test") == {f"chance-{TEXT}": 0.25, f"chance-{IMAGE}": 0.25, f"chance-{GROUP}": 1 / 6}


def test_a_trained_pair_of_towers_is_measured_by_a_run_without_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    encoder = {"recipe": "dual-tower-regions", "sizes": REGIONS}
    data = {"name": "number-world", "split": "world", "questions": 40, "eval_questions": 20, "captions": "numbers"}
    trained = {"name": "towers", "task": "contrastive-retrieval", "data": data, "encoder": encoder}
    Path("a.yaml").write_text(json.dumps({**trained, "train": {"steps": 2, "batch_size": 8}}))
    assert cli.main(["train", "a.yaml"]) == 0
    measured = {"recipe": "dual-tower-regions", "weights": "runs/towers/model"}
    pair = {"name": "pairs", "task": "minimal-pairs", "data": {k: v for k, v in data.items() if k != "captions"}}
    Path("b.yaml").write_text(json.dumps({**pair, "encoder": measured, "train": {"steps": 0}}))
    assert cli.main(["train", "b.yaml"]) == 0
    capsys.readouterr()
    assert cli.main(["evaluate", "runs/pairs", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {TEXT, IMAGE, GROUP} <= found.keys() and set(found["by_type"]) == {"colours", "order"}
