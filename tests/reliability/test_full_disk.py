"""A full disk, or a limit on the size of files, is one sentence; nothing is lost and the run goes on."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mm_kptm import experiment
from mm_kptm.errors import UserError
from mm_kptm.experiment.settings import Experiment
from tests.reliability.test_kills import assert_equal, content, quick_writes, settings

__all__ = ["quick_writes", "settings"]  # fixtures


def limited(work: Callable[[], object], most: int) -> str:
    """What a process says that may write files of at most so many bytes; empty where it ended well."""
    here, there = os.pipe()
    if not os.fork():
        said = "another exception than UserError"
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
            work()
            said = ""
        except UserError as error:
            said = str(error)
        finally:
            os.write(there, said.encode())
            os._exit(0)
    os.close(there)
    os.wait()
    with os.fdopen(here) as file:
        return file.read()


@pytest.mark.parametrize(
    ("most", "file"),
    [
        (0, "config.yaml"),
        (1000, "config.yaml"),
        (4000, "model.safetensors"),
        (9000, "trainer.pt"),
        (20_000, "trainer.pt"),
        (100_000, ""),
    ],
)
def test_a_run(settings: Callable[..., Experiment], tmp_path: Path, most: int, file: str) -> None:
    asked = settings()

    def work(place: Path) -> None:
        experiment.train(asked, place, resume=True, progress=False)
        experiment.evaluate(place)

    said = limited(lambda: work(tmp_path / "run"), most)
    if file:
        assert f"{file} cannot be written: File too large; free some space, or name a place that has it" in said
    else:
        assert not said
    work(tmp_path / "run")
    work(tmp_path / "unbroken")
    assert_equal(content(tmp_path / "run"), content(tmp_path / "unbroken"))


def test_a_log_that_cannot_grow(settings: Callable[..., Experiment], tmp_path: Path) -> None:
    asked = settings()
    asked = replace(asked, train=replace(asked.train, steps=60, save_every=60, eval_every=None))

    def work(place: Path) -> None:
        experiment.train(asked, place, resume=True, progress=False)

    said = limited(lambda: work(tmp_path / "run"), 3000)
    assert "events cannot be written: File too large; free some space" in said
    work(tmp_path / "run")
    work(tmp_path / "unbroken")
    assert_equal(content(tmp_path / "run"), content(tmp_path / "unbroken"))
