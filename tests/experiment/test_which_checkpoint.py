"""A run is measured at its last checkpoint, its best one, or that of a step."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mm_kptm import experiment
from mm_kptm.errors import UserError
from mm_kptm.train.checkpoint import Checkpoints
from tests.experiment.test_run import tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = tiny(tmp_path_factory.mktemp("runs"))
    # the rate is so high that the loss rises: the best checkpoint is an early one
    train = replace(settings.train, steps=6, lr=1.0, eval_every=1, save_every=2, keep_last=3, monitor="dev/loss")
    settings = replace(settings, train=train)
    experiment.train(settings, settings.folder, progress=False)
    return settings.folder


def dev(run: Path, step: int) -> float:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return float(next(line["loss"] for line in lines if (line["step"], line["split"]) == (step, "dev")))


def test_every_checkpoint_gives_the_measures_of_its_step(run: Path) -> None:
    assert experiment.evaluate(run, "dev")["loss"] == pytest.approx(dev(run, 6), rel=1e-5)
    for step in (2, 4, 6):
        measured = experiment.evaluate(run, "dev", checkpoint=str(step))
        assert measured["loss"] == pytest.approx(dev(run, step), rel=1e-5)
    best = Checkpoints(run).named("best")
    lowest = min(dev(run, step) for step in range(1, 7))
    assert experiment.evaluate(run, "dev", checkpoint="best")["loss"] == pytest.approx(lowest, rel=1e-5)
    assert dev(run, int(best.name.removeprefix("step-"))) == lowest


def test_predictions_of_another_checkpoint_leave_those_of_the_last_alone(run: Path) -> None:
    experiment.evaluate(run, "test")
    before = (run / "predictions" / "test.jsonl").read_bytes()
    card = (run / "model" / "README.md").read_bytes()
    assert experiment.evaluate(run, "test", checkpoint="2")["checkpoint"] == "step-00000002"
    assert (run / "predictions" / "step-00000002" / "test.jsonl").is_file()
    assert (run / "predictions" / "test.jsonl").read_bytes() == before
    assert (run / "model" / "README.md").read_bytes() == card
    assert "checkpoint" not in experiment.evaluate(run, "test", checkpoint="6")


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("77", r"has no checkpoint of step 77; there are .*6$"),
        ("newest", r"^checkpoint is 'newest' but must be last, best or the number of a step; there are .*6$"),
    ],
)
def test_a_checkpoint_that_is_not_there_is_refused(run: Path, word: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        experiment.evaluate(run, "test", checkpoint=word)


def test_there_is_no_best_checkpoint_without_a_monitor(tmp_path: Path) -> None:
    settings = tiny(tmp_path)
    experiment.train(settings, settings.folder, progress=False)
    with pytest.raises(
        UserError, match=r"has no best checkpoint; train.monitor names the measure .*; steps with one: 4"
    ):
        experiment.evaluate(settings.folder, checkpoint="best")


def test_a_run_that_has_ended_goes_on_for_more_steps(tmp_path: Path) -> None:
    settings = tiny(tmp_path)
    longer = replace(settings, train=replace(settings.train, steps=8, schedule="constant", warmup=0.0))
    short = replace(longer, train=replace(longer.train, steps=4))
    experiment.train(short, short.folder, progress=False)
    experiment.train(longer, short.folder, resume=True, progress=False)
    once = replace(longer, name="once")
    experiment.train(once, once.folder, progress=False)
    one, other = (folder / "model" / "model.safetensors" for folder in (short.folder, once.folder))
    assert one.read_bytes() == other.read_bytes()
    assert "steps: 8" in (short.folder / "config.yaml").read_text()
