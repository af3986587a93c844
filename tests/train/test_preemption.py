"""A run that a scheduler ends saves its last step, and resumed it is the run that was never ended, bit for bit."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace

import pytest

from mm_kptm import cli
from mm_kptm.experiment.worker_pool import outcomes
from mm_kptm.train import Checkpoints, TrainSettings, fit, preemption
from mm_kptm.train.checkpoint import load_trainer
from mm_kptm.train.parallel.processes import Preempted
from mm_kptm.train.settings import UserError
from tests.train.toy import Line, PointSource

TINY = """\
name: tiny
task: vqa
data: {name: number-world, questions: 20, eval_questions: 21, languages: [en]}
encoder:
  recipe: uniter-base
  sizes: {num_layers: 1, dim: 16, num_heads: 2, ffn_dim: 32}
  init_std: 0.1
train: {steps: 4, batch_size: 10}
"""

SETTINGS = TrainSettings(steps=12, batch_size=8, lr=0.01, eval_every=6, save_every=5, log_every=4, seed=3)


class Signalling(PointSource):
    """Sends a signal to this process, or from a worker to both, while it makes a batch of a run."""

    def __init__(self, number: signal.Signals | None, batch: int = 4, receivers: int = 1) -> None:
        super().__init__(50)
        self.number, self.left, self.receivers = number, batch, receivers

    def batch(self, indices, generator):
        self.left -= 1
        if self.number is not None and self.left == 0:
            for process in (os.getpid(), os.getppid())[-self.receivers :] if self.receivers > 1 else (os.getpid(),):
                os.kill(process, self.number)
        return super().batch(indices, generator)


def train(folder, source, settings=SETTINGS):
    fit(Line(dropout=0.3), source, settings, folder, evaluate={"dev": PointSource(9)}, resume=True, progress=False)


def facts(folder):
    latest = Checkpoints(folder).find("latest")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("rows_per_s", None)
    trainer = json.dumps(load_trainer(latest), default=lambda tensor: tensor.tolist())
    return (latest / "model.safetensors").read_bytes(), latest.name, lines, trainer


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    train(folder, PointSource(50))
    return facts(folder)


@pytest.mark.parametrize("number", preemption.SIGNALS)
def test_a_signal_ends_a_run_after_its_step(tmp_path, unbroken, number):
    with pytest.raises(
        Preempted, match=f"ended by {number.name} after step 3 of 12, with a checkpoint of it to resume"
    ):
        train(tmp_path, Signalling(number, batch=3))
    assert Checkpoints(tmp_path).find("latest").name == "step-00000003"
    with pytest.raises(Preempted, match="after step 11 of 12"):
        train(tmp_path, Signalling(number, batch=8))
    train(tmp_path, PointSource(50))
    assert facts(tmp_path) == unbroken


def test_a_signal_in_the_last_step_ends_nothing(tmp_path, unbroken):
    train(tmp_path, Signalling(signal.SIGTERM, batch=12))
    assert facts(tmp_path) == unbroken


def test_workers_outlive_a_signal_to_the_whole_group(tmp_path, unbroken):
    settings = replace(SETTINGS, num_workers=1)
    with pytest.raises(Preempted, match="ended by SIGTERM"):
        train(tmp_path, Signalling(signal.SIGTERM, receivers=2), settings)
    train(tmp_path, PointSource(50), settings)
    assert facts(tmp_path) == unbroken


def test_a_limit_of_time_ends_a_run(tmp_path, unbroken, monkeypatch):
    """By a clock that moves by a quarter of an hour whenever it is read: at the start, then once a step."""
    read = iter(range(0, 10**6, 900))
    monkeypatch.setattr(preemption, "_clock", lambda: next(read))
    with pytest.raises(Preempted, match=r"ended by train.max_hours after step 6 of 12"):
        train(tmp_path, PointSource(50), replace(SETTINGS, max_hours=1.5))
    train(tmp_path, PointSource(50))
    assert facts(tmp_path) == unbroken


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands, in seconds, until it is set."""
    now = [0.0]
    monkeypatch.setattr(preemption, "_clock", lambda: now[0])
    return now


@pytest.fixture
def ended_by(monkeypatch):
    """Signals by which the process would have ended, each with what it does by then."""
    ended = []
    monkeypatch.setattr(signal, "raise_signal", lambda number: ended.append((number, signal.getsignal(number))))
    return ended


def test_a_second_signal_ends_the_process_and_handlers_are_given_back(clock, ended_by):
    with preemption.Preemption() as heard:
        assert not heard.requested()
        os.kill(os.getpid(), signal.SIGUSR1)
        clock[0] = preemption.ONE_NOTICE + 1
        os.kill(os.getpid(), signal.SIGTERM)  # the first of its kind
        assert not ended_by
        os.kill(os.getpid(), signal.SIGUSR1)
        assert ended_by == [(signal.SIGUSR1, signal.SIG_DFL)]
        assert heard.requested()
    assert {signal.getsignal(number) for number in preemption.SIGNALS} == {signal.SIG_DFL}


@pytest.mark.parametrize("number", preemption.SIGNALS)
def test_a_notice_may_come_from_the_scheduler_and_from_the_launcher(tmp_path, unbroken, clock, number):
    class Twice(Signalling):
        def batch(self, indices, generator):
            if self.left == 1:
                os.kill(os.getpid(), number)
            return super().batch(indices, generator)

    with pytest.raises(Preempted, match="after step 3 of 12"):
        train(tmp_path, Twice(number, batch=3))
    train(tmp_path, PointSource(50))
    assert facts(tmp_path) == unbroken


def test_workers_take_a_notice_that_comes_twice_for_one(clock, ended_by):
    before = [signal.getsignal(number) for number in preemption.SIGNALS]
    try:
        preemption.outlive_signal()
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
        assert not ended_by
        clock[0] = preemption.ONE_NOTICE + 1
        os.kill(os.getpid(), signal.SIGTERM)
        assert ended_by == [(signal.SIGTERM, signal.SIG_DFL)]
    finally:
        for number, handler in zip(preemption.SIGNALS, before, strict=True):
            signal.signal(number, handler)


def test_a_handler_of_the_caller_stays(monkeypatch):
    received = []
    before = signal.signal(signal.SIGTERM, lambda *_: received.append(1))
    try:
        with preemption.Preemption() as heard:
            os.kill(os.getpid(), signal.SIGTERM)
            assert received and not heard.requested()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_limit_is_more_than_nothing():
    with pytest.raises(UserError, match=r"train.max_hours is 0 but must be greater than 0"):
        TrainSettings(max_hours=0)


def listens(_):
    return signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL


def test_workers_of_a_comparison_end_at_once():
    """They answer SIGTERM themselves, so that no run in them saves before it ends."""
    assert [found for _, found in outcomes(listens, [0], workers=1)] == [True]


def test_the_command_ends_with_code_75_and_says_how_to_resume(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TINY)
    assert cli.main(["train", "tiny.yaml", "--train.max_hours=1e-9"]) == 75
    assert (
        "mm-kptm: ended by train.max_hours after step 1 of 4, with a checkpoint of it to resume from: "
        "mm-kptm train --resume runs/tiny\n"
    ) in capsys.readouterr().err
    assert not (tmp_path / "runs" / "tiny" / "model").exists()
    assert cli.main(["train", "--resume", "runs/tiny", "--train.max_hours=9"]) == 0
    assert (tmp_path / "runs" / "tiny" / "model").is_dir()
