"""Several processes end together when one of them is told to or dies, and the run goes on from there."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from mm_kptm.errors import UserError
from mm_kptm.train import Checkpoints, TrainSettings, fit
from mm_kptm.train.parallel.processes import Preempted, process_group, rank_and_world_size
from tests.train import launching
from tests.train.toy import Deep, PointSource


class Signalling(PointSource):
    """The second process sends itself a signal when it makes its batch of a step."""

    number: int
    step: int

    def batch(self, indices, generator):
        self.step -= 1
        if self.number and self.step == 0 and rank_and_world_size() == (1, 2):
            os.kill(os.getpid(), self.number)
        return super().batch(indices, generator)


def train(folder: str, parallel: str, number: int, step: int) -> None:
    """Train as the command does, and end with its exit codes."""
    source = Signalling(50)
    source.number, source.step = number, step
    settings = TrainSettings(steps=6, batch_size=8, lr=0.01, log_every=6, save_every=2, parallel=parallel)
    try:
        with process_group():
            fit(Deep(), source, settings, Path(folder), resume=True, progress=False)
    except Preempted as ended:
        print(ended)
        sys.exit(75)
    except UserError as error:
        print(error)
        sys.exit(2)


def run(folder: Path, parallel: str, number: int = 0, step: int = 0) -> list[int | None]:
    return launching.start(train, 2, str(folder), parallel, number, step, said=folder.parent / "said")


def latest(folder: Path) -> Path:
    found = Checkpoints(folder).find("latest")
    assert found is not None
    return found


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_processes_end_and_resume_together(tmp_path: Path, parallel: str) -> None:
    """A signal to one ends all after the same step; a killed one ends the other with a sentence."""
    broken, unbroken = tmp_path / "broken", tmp_path / "unbroken"
    assert run(unbroken, parallel) == [0, 0]
    assert run(broken, parallel, signal.SIGUSR1, step=2) == [75, 75]
    assert latest(broken).name == "step-00000003"
    words = "ended by SIGUSR1 after step 3 of 6, with a checkpoint of it to resume from\n"
    assert [(tmp_path / "said" / f"out-{rank}").read_text() for rank in range(2)] == [words, words]
    assert run(broken, parallel, signal.SIGKILL, step=3) == [2, -signal.SIGKILL]
    assert (tmp_path / "said" / "out-0").read_text().startswith("another process of this launch died without a word")
    assert latest(broken).name == "step-00000004"
    assert run(broken, parallel) == [0, 0]
    assert (latest(broken) / "model.safetensors").read_bytes() == (latest(unbroken) / "model.safetensors").read_bytes()
