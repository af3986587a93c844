"""The verb sweep: options are passed on, a table for readers or JSON for machines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mm_kptm import cli, experiment
from mm_kptm.experiment.tuning.hyperparameter_search import Sweep, Trial

TRIALS = (
    Trial(1, 0.75, {"train.lr": 1e-3, "train.batch_size": 16}, step=20),
    Trial(0, 0.5, {"train.lr": 1e-4, "train.batch_size": 32}, step=40),
    Trial(2, None, {"train.lr": 1.0, "train.batch_size": 32}, error="the loss is nan at step 3"),
)


@pytest.fixture
def asked(monkeypatch):
    calls = []

    def sweep(path, out, **options):
        calls.append({"path": path, "out": out, **options})
        print("a library talks")
        options["say"]("trial 0")
        return Sweep("dev/accuracy", TRIALS, out / "best.yaml")

    monkeypatch.setattr(experiment, "sweep", sweep)
    return calls


def test_options_are_passed_on_and_a_table_is_printed(asked, capsys):
    arguments = ["--over", "train.lr=log:1e-4:1e-2", "--over=train.batch_size=16,32", "--trials=3", "--out", "here"]
    assert cli.main(["sweep", "one.yaml", *arguments, "--train.steps=5", "--monitor", "dev/f1"]) == 0
    (call,) = asked
    assert (call["path"], call["out"], call["trials"]) == (Path("one.yaml"), Path("here"), 3)
    assert call["over"] == {"train.lr": "log:1e-4:1e-2", "train.batch_size": "16,32"}
    assert (call["overrides"], call["monitor"], call["sampler"]) == (["--train.steps=5"], "dev/f1", "tpe")
    out, err = capsys.readouterr()
    assert out.endswith("\nbest: here/best.yaml\n") and err == "trial 0\n"
    lines = out.splitlines()
    assert lines[1].split() == ["trial", "dev/accuracy", "at", "step", "train.batch_size", "train.lr", "error"]
    assert lines[3].split() == ["1", "0.7500", "20", "16", "0.001"]
    assert "failed" in lines[5] and "the loss is nan at step 3" in lines[5]


def test_json_is_one_value_alone(asked, capsys):
    assert cli.main(["sweep", "one.yaml", "--over", "train.lr=1,2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["monitor"] == "dev/accuracy" and found["trials"][0]["value"] == 0.75
    assert asked[0]["trials"] == 20 and asked[0]["out"] == Path("sweep")


def test_a_key_named_twice_and_a_launch_of_several_processes_are_refused(asked, capsys, monkeypatch):
    assert cli.main(["sweep", "one.yaml", "--over", "train.lr=1,2", "--over", "train.lr=3,4"]) == 2
    assert capsys.readouterr().err == "mm-kptm: --over names train.lr twice; name each key once\n"
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert cli.main(["sweep", "one.yaml", "--over", "train.lr=1,2"]) == 2
    assert "a sweep runs its trials one after another in one process" in capsys.readouterr().err
    assert not asked
