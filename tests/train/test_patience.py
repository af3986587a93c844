"""Early stopping ends a run where it stopped improving, whether it was resumed or not."""

from __future__ import annotations

import io

import pytest

from mm_kptm.errors import UserError
from mm_kptm.train import Checkpoints, TrainSettings
from mm_kptm.train.log import Log, Progress
from tests.train.test_loop import records, run, same
from tests.train.toy import PointSource

#: A rate that improves at first and then diverges.
WILD = {"lr": 0.5, "steps": 60, "eval_every": 2, "save_every": 2, "monitor": "dev/closeness", "patience": 3}


def stopped_at(values):
    """The step at which the values of an unbroken run without patience would have run out of it."""
    best, best_at = float("-inf"), 0
    for number, value in enumerate(values, start=1):
        if value > best:
            best, best_at = value, number
        if number - best_at >= WILD["patience"]:
            return number * WILD["eval_every"]
    return WILD["steps"]


def test_a_run_stops_after_evaluations_without_a_better_value(tmp_path):
    free = {name: value for name, value in WILD.items() if name != "patience"}
    run(tmp_path / "free", dev=PointSource(9, shake=0.0), **free)
    values = [record["closeness"] for record in records(tmp_path / "free", "dev")]
    expected = stopped_at(values)
    assert expected < WILD["steps"], "the toy must diverge for this test to say anything"
    _, fitted = run(tmp_path / "patient", dev=PointSource(9, shake=0.0), **WILD)
    assert fitted.step == expected
    assert fitted.checkpoint.name == f"step-{expected:08d}"
    assert [record["closeness"] for record in records(tmp_path / "patient", "dev")] == values[: expected // 2]
    assert fitted.evaluations["dev"].means["closeness"] == pytest.approx(values[expected // 2 - 1])


def test_a_stopped_run_stays_stopped_and_goes_on_with_more_patience(tmp_path):
    free = {name: value for name, value in WILD.items() if name != "patience"}
    unbroken, _ = run(tmp_path / "free", dev=PointSource(9, shake=0.0), **free)
    _, first = run(tmp_path / "run", dev=PointSource(9, shake=0.0), **WILD)
    before = (first.checkpoint / "model.safetensors").read_bytes()
    _, again = run(tmp_path / "run", dev=PointSource(9, shake=0.0), resume=True, **WILD)
    assert again.step == first.step and (again.checkpoint / "model.safetensors").read_bytes() == before
    resumed, further = run(tmp_path / "run", dev=PointSource(9, shake=0.0), resume=True, **{**WILD, "patience": 90})
    assert further.step == WILD["steps"]
    same(resumed, unbroken)


def test_a_resumed_run_stops_where_an_unbroken_one_does(tmp_path):
    model, whole = run(tmp_path / "whole", dev=PointSource(9, shake=0.0), **WILD)
    run(tmp_path / "run", dev=PointSource(9, shake=0.0), **{**WILD, "keep_last": 99})
    for step in range(2, whole.step, 2):
        Checkpoints(tmp_path / "run").point("latest", Checkpoints(tmp_path / "run").folder / f"step-{step:08d}")
        resumed, fitted = run(tmp_path / "run", dev=PointSource(9, shake=0.0), resume=True, **{**WILD, "keep_last": 99})
        assert fitted.step == whole.step
        same(resumed, model)


@pytest.mark.parametrize("lacking", ["monitor", "eval_every"])
def test_patience_needs_something_to_watch(lacking):
    with pytest.raises(UserError, match=r"^train.patience is 3, but nothing is watched during training; set train.mon"):
        TrainSettings(**{**WILD, lacking: None})


def test_patience_is_positive():
    with pytest.raises(UserError, match=r"^train.patience is 0 but must be greater than 0"):
        TrainSettings(**{**WILD, "patience": 0})


def test_scores_are_printed_as_they_come(tmp_path, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    with Log(tmp_path, label="toy", steps=8, start=0, speaking=True, progress=True) as log:
        log.measures(4, "dev", {"accuracy": 0.51239, "loss": 1.5, "n": 20})
        log.measures(4, "blind", {"n": 20})
    assert stream.getvalue() == "toy 4/8 dev: accuracy 0.5124, loss 1.5\ntoy 4/8 blind: no example has a gold answer\n"


def test_a_line_stands_above_the_live_line_of_a_terminal():
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    progress = Progress("toy", steps=3, start=0, stream=stream)
    progress.step()
    progress.say("dev: accuracy 0.5")
    progress.close()
    assert "toy 1/3 dev: accuracy 0.5\n" in stream.getvalue()
