"""What is killed at any file operation leaves nothing half-written that is read, and ends in the same bytes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mm_kptm import experiment, report
from mm_kptm.config import read
from mm_kptm.errors import UserError
from mm_kptm.experiment import comparison
from mm_kptm.experiment.settings import Experiment
from mm_kptm.experiment.tuning.hyperparameter_search import Sweep, sweep
from mm_kptm.io import atomic
from mm_kptm.train.checkpoint import load_trainer, verify
from mm_kptm.vision.extractors.build import ExtractorSettings, build_extractor
from mm_kptm.vision.extractors.extract import extract
from mm_kptm.vision.features.store import RegionStore
from mm_kptm.vision.features.store_writer import PROGRESS
from tests.reliability.kills import deaths, steps

FILE = """\
name: {name}
task: sentence-classification
encoder: {{recipe: bert-base, sizes: {{dim: 8, num_heads: 2, num_layers: 1, ffn_dim: 8, max_positions: 16}}}}
data: {{name: custom-text, train: {here}/a.jsonl, dev: {here}/a.jsonl, test: {here}/a.jsonl,
  vocabulary: {here}/vocab.txt, max_length: 8}}
train: {{steps: 4, batch_size: 4, eval_every: 2, save_every: 2, log_every: 1, keep_last: 1, lr: {lr}}}
"""
#: Differ from run to run: speeds and times, and the events of TensorBoard.
UNLIKE = ("environment.json", "events", ".lock", "report.html")


@pytest.fixture(autouse=True)
def quick_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic.os, "fsync", lambda file: None)
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Experiment]:
    here = tmp_path_factory.mktemp("data")
    lines = [json.dumps({"text": text, "label": label}) for text, label in (("a b", "x"), ("c b", "y"))]
    (here / "a.jsonl").write_text("\n".join(lines * 6))
    (here / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c"]))

    def made(name: str = "tiny", lr: float = 1e-4) -> Experiment:
        (here / f"{name}.yaml").write_text(FILE.format(name=name, here=here, lr=lr))
        return read(Experiment, here / f"{name}.yaml")

    return made


def content(folder: Path) -> dict[str, Any]:
    """Everything in a folder but what differs from run to run."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not {*UNLIKE} & {*path.relative_to(folder).parts}:
            found[name] = path.read_bytes()
            if path.name == "trainer.pt":  # equal states may be pickled in other bytes
                found[name] = json.dumps(load_trainer(path.parent), default=lambda tensor: tensor.tolist())
            if path.name == "manifest.json" and "checkpoints" in name:
                found[name] = sorted(json.loads(path.read_text()))
            if path.name == "metrics.jsonl":
                lines = [json.loads(line) for line in path.read_text().splitlines()]
                found[name] = [{key: one[key] for key in one if key != "rows_per_s"} for one in lines]
    return found


def assert_equal(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert sorted(found) == sorted(expected)
    for name, value in expected.items():
        assert found[name] == value, name


def check_whole(folder: Path) -> None:
    """Every file with a final name is whole."""
    for path in folder.rglob("*.json"):
        if not any(part.startswith(".") for part in path.relative_to(folder).parts):
            json.loads(path.read_text())
    for path in folder.rglob("predictions/**/*.jsonl"):
        assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == [str(n) for n in range(1, 13)]
    for checkpoint in folder.rglob("checkpoints/step-*"):
        verify(checkpoint)


@steps(60)
def test_a_run(settings: Callable[..., Experiment], tmp_path: Path, step: int) -> None:
    asked = settings()

    def work(place: Path) -> None:
        experiment.train(asked, place, resume=True, progress=False)
        experiment.evaluate(place)

    work(tmp_path / "unbroken")
    expected = content(tmp_path / "unbroken")
    for place, ended in deaths(work, tmp_path, step):
        check_whole(place)
        if not ended:
            try:
                report.write([place], tmp_path / "report.html")
            except UserError as error:
                assert str(error)
            work(place)
        assert_equal(content(place), expected)
        shutil.rmtree(place)


def one_by_one(work: Callable[[Any], Any], jobs: Sequence[Any], *, workers: int) -> Any:
    return ((place, work(job)) for place, job in enumerate(jobs))


@steps(150)
def test_a_comparison(
    settings: Callable[..., Experiment], tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "outcomes", one_by_one)
    arms = [settings("one"), settings("two", lr=1e-3)]

    def work(place: Path) -> None:
        comparison.compare(arms, place, seeds=1, nulls=False, unequal=True)

    work(tmp_path / "unbroken")
    expected = content(tmp_path / "unbroken")
    for place, ended in deaths(work, tmp_path, step):
        check_whole(place)
        if not ended:
            work(place)
        moved = {name: _moved(value, place, tmp_path / "unbroken") for name, value in content(place).items()}
        assert_equal(moved, expected)
        shutil.rmtree(place)


def _moved(value: Any, here: Path, there: Path) -> Any:
    return value.replace(str(here).encode(), str(there).encode()) if isinstance(value, bytes) else value


@steps(100)
def test_a_sweep(settings: Callable[..., Experiment], tmp_path: Path, step: int) -> None:
    file = settings("tiny").data.train.parent / "tiny.yaml"  # type: ignore[attr-defined]

    def work(place: Path) -> Sweep:
        return sweep(
            file, place, trials=2, over={"train.lr": "log:1e-4:1e-2"}, monitor="dev/accuracy", say=lambda line: None
        )

    expected = work(tmp_path / "unbroken")
    for place, ended in deaths(work, tmp_path, step):
        check_whole(place)
        found = work(place)
        assert found.trials == expected.trials
        for weights in (tmp_path / "unbroken").rglob("*.safetensors"):
            same = place / weights.relative_to(tmp_path / "unbroken")
            assert same.read_bytes() == weights.read_bytes()
        assert found.best.read_text() == expected.best.read_text() and (ended or found.best.is_file())
        shutil.rmtree(place)


@steps(3)
def test_a_feature_extraction(tmp_path: Path, step: int) -> None:
    built = build_extractor(ExtractorSettings("patches", size=32, patch=16), None)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    dice = np.random.default_rng(0)
    for number in range(3):
        Image.fromarray(dice.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(pictures / f"{number}.png")

    def work(place: Path) -> None:
        extract(pictures, place, built, batch_size=1)

    work(tmp_path / "unbroken")
    expected = content(tmp_path / "unbroken")
    for place, ended in deaths(work, tmp_path, step):
        if not ended:
            try:
                RegionStore(place)
            except UserError as error:
                assert str(error)
            try:
                work(place)
            except UserError as error:  # it died when all was written
                assert "holds a finished store" in str(error)
        RegionStore(place)
        assert {name: value for name, value in content(place).items() if name != PROGRESS} == expected
        shutil.rmtree(place)
