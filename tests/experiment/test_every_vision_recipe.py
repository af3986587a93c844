"""Every system that reads regions learns on Number World: eight examples by heart, and to look where it has to."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import mm_kptm
from mm_kptm.experiment.run import evaluate, train
from mm_kptm.experiment.settings import EncoderSettings, Experiment
from mm_kptm.suites.number_world.datasets.settings import NumberWorldData
from mm_kptm.suites.number_world.generator.scene import FEATURES
from mm_kptm.train.settings import TrainSettings
from tests.vision.small import SCHEDULES

#: The texts of two towers are read without the pictures, so that they answer no question about them.
READERS = [
    name
    for name, recipe in mm_kptm.catalogue().items()
    if "regions" in recipe.reads and recipe.family != "dual-tower-regions"
]
SMALL: dict[str, Any] = {
    "dim": 64, "num_heads": 4, "num_layers": 2, "ffn_dim": 256, "max_positions": 64, "num_region_classes": 0,
    "num_region_layers": 1, "num_cross_layers": 1, "region_states": 64, "region_heads": 4, "region_ffn_dim": 256,
    "cross_dim": 64, "cross_heads": 4, "pooled_dim": 64, "visual_dim": 64,
    "dropout": 0.0, "attention_dropout": 0.0, "region_dropout": 0.0, "region_attention_dropout": 0.0,
}  # fmt: skip
TWO_STREAMS = ("vilbert", "12-in-1")
#: VL-BERT's visual norms begin at zero, and its 2,048 numbers of a box would drown the 384 of a crop.
SEEING = {"visual_scale": 0.3, "box_frequencies": 4}
#: Two systems diverge at the learning rate of the others: Pixel-BERT is 384 wide here, VOLTA's LXMERT is the deepest.
RATES = {"pixel-bert": 5e-4, "volta-lxmert": 1e-3}
#: The data of the tier ``tiny``, about single digits.
DATA = NumberWorldData(
    questions=2000, eval_questions=400, numbers=10, sizes=(2,), languages=("en",), types=("colour", "number")
)


def sizes_of(name: str) -> dict[str, Any]:
    takes = inspect.signature(mm_kptm.catalogue()[name].build).parameters
    sizes = {size: value for size, value in SMALL.items() if size in takes}
    if not name.startswith(TWO_STREAMS):
        sizes.pop("region_states", None)
    if "schedule" in takes:
        layers = "tt+tv+vt+vv= t+v= tt+tv+vt+vv= t+v="
        sizes["schedule"] = SCHEDULES.get(name.removeprefix("volta-"), layers)
        for size in ("region_heads", "region_ffn_dim"):
            sizes.pop(size, None)
    if "vl-bert" in name:
        sizes |= SEEING
    if name.startswith("pixel-bert"):
        sizes["dim"] = FEATURES  # its cells are as wide as its states
    return sizes


def learnt(name: str, out: Path, data: NumberWorldData, settings: TrainSettings) -> Path:
    run = Experiment(
        name=name,
        task="vqa",
        encoder=EncoderSettings(name, sizes=sizes_of(name), init_std=0.1),
        data=data,
        train=settings,
        out=out,
    )
    train(run, out / name, progress=False)
    return out / name


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_eight_examples_are_learnt_by_heart(name: str, tmp_path: Path) -> None:
    data = replace(DATA, questions=8, eval_questions=8)
    run = learnt(name, tmp_path, data, TrainSettings(steps=80, batch_size=8, lr=2e-3))
    assert float(str(evaluate(run, "train")["accuracy"])) == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_it_answers_more_than_the_question_alone_gives_away(name: str, tmp_path: Path) -> None:
    """A tiny model after 150 steps, against the most frequent answer to each question of the training data."""
    lr = next((rate for family, rate in RATES.items() if name.startswith(family)), 2e-3)
    settings = TrainSettings(steps=150, batch_size=128, lr=lr, betas=(0.9, 0.98), schedule="wsd", decay_fraction=0.4)
    run = learnt(name, tmp_path, DATA, settings)
    found = evaluate(run, "dev")
    baselines: Any = found["baselines"]
    print(f"{name}: dev {found['accuracy']:.3f}, question only {baselines['question-only']:.3f}")
    assert float(str(found["accuracy"])) > baselines["question-only"] + 0.05
