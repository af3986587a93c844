"""A run that is killed at any moment and resumed ends with the weights of one that was not, bit for bit.

The runs are real processes and die by SIGKILL: while they compute, while they write a checkpoint, and at random.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mm_kptm.train import Checkpoints, TrainSettings, fit
from mm_kptm.train.checkpoint import load_trainer, verify
from tests.train.toy import Line, PointSource

SETTINGS = TrainSettings(
    steps=60,
    batch_size=8,
    lr=0.01,
    eval_every=10,
    save_every=7,
    log_every=4,
    keep_last=2,
    monitor="dev/closeness",
    seed=3,
)
BALLAST = {"ballast.txt": "x" * 4_000_000}  # makes the writing of a checkpoint long enough to be hit


class Slow(PointSource):
    def batch(self, indices, generator):
        time.sleep(0.004)
        return super().batch(indices, generator)


def work(folder: str, background: bool = False) -> None:
    torch.set_num_threads(1)
    fit(
        Line(dropout=0.3),
        Slow(50),
        replace(SETTINGS, background_save=background),
        Path(folder),
        evaluate={"dev": PointSource(9)},
        resume=True,
        extra=BALLAST,
        progress=False,
    )


@pytest.fixture(scope="module")
def processes():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["mm_kptm.train", "tests.train.toy", "torch._dynamo"]
    )  # the optimiser imports the last
    return context


@pytest.fixture(scope="module")
def unbroken(processes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    finish(processes, folder)
    return folder


def finish(processes, folder):
    process = processes.Process(target=work, args=(str(folder),))
    process.start()
    process.join()
    assert process.exitcode == 0


def kill_when(processes, folder, moment):
    """Start the run, kill it when ``moment`` comes, and say whether it was still alive then."""
    process = processes.Process(target=work, args=(str(folder),))
    process.start()
    while process.is_alive() and not moment():
        time.sleep(0.0005)
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


#: What stands in the folder of checkpoints when a run dies while it writes one.
MOMENTS = (
    lambda checkpoints: (checkpoints / ".draft-step-00000007").exists(),
    lambda checkpoints: (checkpoints / ".draft-step-00000014" / "ballast.txt").exists(),
    lambda checkpoints: (checkpoints / "step-00000021").exists(),
    lambda checkpoints: (checkpoints / ".draft-step-00000028" / "manifest.json").exists(),
    lambda checkpoints: any(checkpoints.glob(".draft-old-*")),
)


def work_until(folder: str, moment: int, background: bool) -> None:
    """Train, and die by SIGKILL at the first file operation after the moment has come."""
    checkpoints, looking = Path(folder) / "checkpoints", False

    def die(event: str, _args: object) -> None:
        nonlocal looking
        if looking or not event.startswith(("open", "os.", "shutil.")):
            return
        looking = True  # the look itself is a file operation
        if MOMENTS[moment](checkpoints):
            os.kill(os.getpid(), signal.SIGKILL)
        looking = False

    sys.addaudithook(die)
    work(folder, background)


def facts(folder):
    """Everything a run leaves but its speed and the history of its environment."""
    checkpoints = Checkpoints(folder)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("rows_per_s", None)
    latest = checkpoints.find("latest")
    verify(latest)
    return {
        "weights": (latest / "model.safetensors").read_bytes(),
        "latest": latest.name,
        "best": checkpoints.find("best").name,
        "folders": sorted(path.name for path in checkpoints.folder.iterdir()),
        "lines": lines,
        "trainer": json.dumps(load_trainer(latest), default=lambda tensor: tensor.tolist()),
    }


def last_step(folder):
    try:
        return json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["step"]
    except (OSError, IndexError, ValueError):
        return 0


def test_killed_while_computing(processes, unbroken, tmp_path):
    """Before the first checkpoint, between two, and right behind one."""
    for step in (4, 12, 28, 40):
        assert kill_when(processes, tmp_path, lambda step=step: last_step(tmp_path) >= step)
    finish(processes, tmp_path)
    assert facts(tmp_path) == facts(unbroken)


@pytest.mark.parametrize(
    ("moment", "background"), [*((moment, False) for moment in range(len(MOMENTS))), (1, True), (3, True)]
)
def test_killed_while_writing_a_checkpoint(processes, unbroken, tmp_path, moment, background):
    process = processes.Process(target=work_until, args=(str(tmp_path), moment, background))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    for whole in (tmp_path / "checkpoints").glob("step-*"):
        verify(whole)
    finish(processes, tmp_path)
    assert facts(tmp_path) == facts(unbroken)


def test_killed_at_random(processes, unbroken, tmp_path):
    dice = random.Random(11)
    deaths = 0
    for _ in range(8):
        until = time.monotonic() + dice.uniform(0.1, 0.5)
        deaths += kill_when(processes, tmp_path, lambda until=until: time.monotonic() >= until)
    assert deaths
    finish(processes, tmp_path)
    assert facts(tmp_path) == facts(unbroken)
