"""Fresh weights of small encoders are drawn as fits their width, and every place says so."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import mm_kptm
from mm_kptm import cli, config, experiment
from mm_kptm.experiment.build import build
from mm_kptm.experiment.defaults import said_of, with_defaults
from mm_kptm.experiment.settings import EncoderSettings, Experiment
from mm_kptm.suites.number_world.datasets.settings import NumberWorldData
from mm_kptm.suites.number_world.demo.arms import TIERS, experiments
from mm_kptm.train import TrainSettings

SIZES = {"dim": 64, "num_heads": 2, "num_layers": 1, "ffn_dim": 64, "dropout": 0.0}


def asked(recipe="uniter-base", sizes=SIZES, **more) -> Experiment:
    return Experiment(
        name="small",
        task="vqa" if recipe == "uniter-base" else "parallel-sentences",
        encoder=EncoderSettings(recipe, dict(sizes), **more),
        data=NumberWorldData(questions=40, eval_questions=10),
        train=TrainSettings(steps=1, batch_size=8),
    )


def std(settings: Experiment) -> float | None:
    return with_defaults(settings).encoder.init_std


def test_a_small_fresh_encoder_gets_one_over_the_root_of_its_width():
    assert std(asked()) == 0.125
    assert std(asked(sizes={**SIZES, "dim": 256})) == 0.0625
    assert std(asked("bert-base")) == 0.125
    system = build(asked()).system
    spread = system.encoder.layers[0].ffn.up_proj.weight.std().item()
    assert spread == pytest.approx(0.125, rel=0.1)


@pytest.mark.parametrize(
    "settings",
    [
        asked(init_std=None),
        asked(sizes={**SIZES, "dim": 512}),
        asked(sizes={"num_layers": 1}),
        asked(weights=Path("somewhere")),
        asked("xlm-15"),  # draws by its width already
    ],
    ids=["null", "wide", "published", "loaded", "xlm"],
)
def test_every_other_encoder_is_drawn_as_its_recipe_says(settings):
    assert std(settings) is None
    assert said_of(settings, with_defaults(settings)) is None


def test_what_the_user_says_stands():
    assert std(asked(init_std=0.3)) == 0.3
    assert said_of(asked(init_std=0.3), with_defaults(asked(init_std=0.3))) is None


def test_systems_built_from_python_are_drawn_as_published():
    model = mm_kptm.build("bert-base", dim=64, num_heads=2, num_layers=1, ffn_dim=64, vocab_size=100, seed=0)
    assert model.encoder.layers[0].ffn.up_proj.weight.std().item() == pytest.approx(0.02, rel=0.1)


def test_the_demo_is_drawn_as_it_was():
    """Its figures in the README belong to these."""
    for arm in experiments(TIERS["demo"], 0, Path("demo")).values():
        assert arm.encoder.init_std in (0.1, None)


def test_the_log_the_config_and_the_printed_config_say_it(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = "encoder.init_std is 0.125, as fits fresh weights of dim 64; null takes that of uniter-base"
    Path("small.yaml").write_text(config.dump(asked()))
    assert "init_std: auto" in Path("small.yaml").read_text()
    assert cli.main(["train", "small.yaml", "--print-config"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"# {said}\n") and "  init_std: 0.125\n" in out
    assert cli.main(["train", "small.yaml"]) == 0
    assert f"small: {said}" in capsys.readouterr().err
    assert config.read(Experiment, Path("runs/small/config.yaml")).encoder.init_std == 0.125
    assert cli.main(["train", "small.yaml", "--resume"]) == 0, "the same file is the same run"


def test_the_draw_does_not_disturb_the_rest_of_the_run(tmp_path):
    """Resolving it draws weights, which no generator of the run may feel."""
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with_defaults(asked())
    assert torch.equal(torch.get_rng_state(), before)
    one = replace(asked(), name="one")
    two = replace(asked(init_std=0.125), name="two")
    for settings in (one, two):
        experiment.train(settings, tmp_path / settings.name, progress=False)
    lines = [(tmp_path / name / "metrics.jsonl").read_text().splitlines()[0] for name in ("one", "two")]
    losses = [json.loads(line)["loss"] for line in lines]
    assert losses[0] == losses[1]
