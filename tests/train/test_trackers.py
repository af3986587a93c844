"""Trackers show a run and never stand in its way."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mm_kptm.errors import UserError, UserNotice
from mm_kptm.train import Checkpoints
from mm_kptm.train.trackers import check_trackers
from tests.train import launching
from tests.train.test_loop import records, run, same
from tests.train.toy import PointSource


class Board:
    """What a fake W&B and a fake MLflow were told."""

    def __init__(self):
        self.opened, self.settings, self.logged, self.ended = [], [], [], 0
        self.fails_at = None

    def log(self, values, step=None, **_):
        if self.fails_at is not None and step >= self.fails_at:
            raise ConnectionError("the server is gone\nsecond line")
        self.logged.append((step, dict(values)))

    def end(self):
        self.ended += 1


@pytest.fixture
def wandb(monkeypatch):
    board, module = Board(), ModuleType("wandb")

    def init(**arguments):
        board.opened.append(arguments)
        return SimpleNamespace(id=arguments["id"] or "w1", log=board.log, finish=board.end)

    module.init, module.config = init, SimpleNamespace(update=lambda values, **_: board.settings.append(values))
    _install(monkeypatch, module)
    return board


@pytest.fixture
def mlflow(monkeypatch):
    board, module = Board(), ModuleType("mlflow")

    def start_run(**arguments):
        board.opened.append(arguments)
        return SimpleNamespace(info=SimpleNamespace(run_id=arguments["run_id"] or "m1"))

    module.search_experiments = lambda **_: [SimpleNamespace(experiment_id="7")]
    module.start_run, module.end_run = start_run, board.end
    module.log_params = lambda values: board.settings.append(dict(values))
    module.log_metrics = lambda values, step=None: board.log(values, step)
    module.utils = SimpleNamespace(validation=SimpleNamespace(MAX_PARAM_VAL_LENGTH=500, MAX_PARAMS_TAGS_PER_BATCH=100))
    _install(monkeypatch, module)
    return board


def _install(monkeypatch, module):
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr("accelerate.tracking.get_available_trackers", lambda: ["tensorboard", "wandb", "mlflow"])


def test_weights_and_biases_gets_what_the_metrics_file_gets(tmp_path, wandb):
    run(tmp_path, dev=PointSource(9), trackers=("wandb",), eval_every=6, steps=12)
    assert [opened["project"] for opened in wandb.opened] == ["mm-kptm"]
    assert wandb.opened[0] | {"dir": ""} == {
        "project": "mm-kptm", "name": "train", "dir": "", "id": None, "resume": "allow"
    }  # fmt: skip
    assert wandb.settings[0]["lr"] == 0.01 and wandb.settings[0]["precision"] == "fp32"
    for split in ("train", "dev"):
        written = [(record.pop("step"), record) for record in records(tmp_path, split)]
        told = [(step, values) for step, values in wandb.logged if f"{split}/" in next(iter(values))]
        assert [(step, {f"{split}/{k}": v for k, v in row.items() if k != "split"}) for step, row in written] == told
    assert wandb.ended == 1
    assert json.loads((tmp_path / "trackers.json").read_text()) == {"wandb": "w1"}


def test_mlflow_too_and_a_resumed_run_goes_on_in_both(tmp_path, wandb, mlflow):
    run(tmp_path, trackers=("wandb", "mlflow"), save_every=6)
    assert mlflow.opened[0]["run_name"] == "train" and mlflow.settings[0]["batch_size"] == 8
    assert [step for step, _ in mlflow.logged] == [4, 8, 12]
    checkpoints = Checkpoints(tmp_path)
    checkpoints.point("latest", checkpoints.named("6"))
    run(tmp_path, trackers=("wandb", "mlflow"), save_every=6, resume=True)
    assert [opened["id"] for opened in wandb.opened] == [None, "w1"]
    assert [opened["run_id"] for opened in mlflow.opened] == [None, "m1"]
    assert [step for step, _ in mlflow.logged] == [4, 8, 12, 8, 12]


def test_tensorboard_through_accelerate(tmp_path):
    run(tmp_path, trackers=("tensorboard",))
    events = EventAccumulator(str(tmp_path / "tensorboard" / "train")).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [4, 8, 12]


def test_the_project_of_weights_and_biases_is_set_as_it_documents(tmp_path, wandb, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "thesis")
    run(tmp_path, trackers=("wandb",))
    assert wandb.opened[0]["project"] == "thesis"


def test_a_tracker_that_fails_is_left_out_and_the_run_ends_as_it_would(tmp_path, wandb, mlflow):
    plain, _ = run(tmp_path / "plain")
    wandb.fails_at = 8
    with pytest.warns(
        UserNotice,
        match=r"^the tracker wandb failed when step 8 was logged \(the server is gone\); the run goes on without it$",
    ):
        tracked, _ = run(tmp_path / "tracked", trackers=("wandb", "mlflow"))
    same(tracked, plain)
    assert [step for step, _ in wandb.logged] == [4] and [step for step, _ in mlflow.logged] == [4, 8, 12]


def test_one_that_cannot_be_opened_is_left_out(tmp_path, wandb, monkeypatch):
    def refuse(**_):
        raise RuntimeError("no API key")

    monkeypatch.setattr(sys.modules["wandb"], "init", refuse)
    with pytest.warns(UserNotice, match=r"^the tracker wandb failed when it was opened \(no API key\); the run goes"):
        _, fitted = run(tmp_path, trackers=("wandb",))
    assert fitted.step == 12 and not (tmp_path / "trackers.json").exists()


def test_a_package_that_is_missing_is_named_with_the_extra_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.setattr("accelerate.tracking.get_available_trackers", lambda: ["tensorboard"])
    with pytest.raises(
        UserError,
        match=r"^train\.trackers names wandb, whose package is not installed; pip install 'mm-kptm\[track\]' ",
    ):
        run(tmp_path / "run", trackers=("wandb",))
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match="names comet_ml, whose package is not installed; pip install comet_ml"):
        check_trackers(("comet_ml",))
    with pytest.raises(UserError, match=r"^train\.trackers has no tracker 'wandbb'; did you mean wandb\?$"):
        check_trackers(("wandbb",))


def test_no_tracker_is_imported_unless_it_is_asked_for(tmp_path, monkeypatch):
    for name in ("wandb", "mlflow"):
        monkeypatch.setitem(sys.modules, name, None)  # importing it fails
    run(tmp_path)


def in_processes(folder: str) -> None:
    run(Path(folder), trackers=("tensorboard",), steps=2)


def test_only_the_main_process_tracks(tmp_path):
    assert launching.start(in_processes, 2, str(tmp_path)) == [0, 0]
    assert len(list((tmp_path / "tensorboard" / "train").glob("events.*"))) == 1


@pytest.mark.slow
def test_the_real_ones_work_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)
    run(tmp_path / "run", trackers=("wandb", "mlflow"), dev=PointSource(9))
    import mlflow

    ids = json.loads((tmp_path / "run" / "trackers.json").read_text())
    found = mlflow.get_run(ids["mlflow"])
    assert found.data.metrics["train/loss"] == pytest.approx(records(tmp_path / "run", "train")[-1]["loss"])
    assert found.data.params["lr"] == "0.01"
    assert list((tmp_path / "run" / "wandb").glob(f"offline-run-*-{ids['wandb']}/*.wandb"))
