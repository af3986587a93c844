"""A whole command in several processes: one of them speaks and writes, and they end together."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest
import torch.distributed

from mm_kptm import cli, experiment
from mm_kptm.errors import UserError
from mm_kptm.train.parallel.processes import rank_and_world_size
from tests.train import launching

TINY = """\
name: tiny
task: vqa
data: {name: number-world, questions: 60, eval_questions: 21, languages: [en]}
encoder:
  recipe: uniter-base
  sizes: {num_layers: 1, dim: 16, num_heads: 2, ffn_dim: 32, dropout: 0.0}
  init_std: 0.1
train: {steps: 4, batch_size: 10, lr: 1e-2, log_every: 2}
"""


def command(folder: str, *arguments: str) -> None:
    os.chdir(folder)
    code = cli.main(arguments)
    if code == 0:
        assert not torch.distributed.is_initialized()
    sys.exit(code)


def broken(folder: str, *arguments: str) -> None:
    """The second process cannot read its data."""

    def refuse(*_: object, **__: object) -> None:
        raise UserError("scans.npz is cut short")

    if place_of_launch() == 1:
        experiment.train = refuse
    command(folder, *arguments)


def killed(folder: str, *arguments: str) -> None:
    """The second process is killed while the first waits for it."""

    def die(*_: object, **__: object) -> None:
        assert rank_and_world_size() == (1, 2)
        os.kill(os.getpid(), signal.SIGKILL)

    if place_of_launch() == 1:
        experiment.train = die
    command(folder, *arguments)


def place_of_launch() -> int:
    return int(os.environ.get("RANK", "0"))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tiny.yaml").write_text(TINY)
    return tmp_path


def said(folder: Path, stream: str, processes: int = 2) -> list[str]:
    return [(folder / "said" / f"{stream}-{rank}").read_text() for rank in range(processes)]


def run(folder: Path, processes: int, *arguments: str, target=command) -> list[int | None]:
    return launching.start(target, processes, str(folder), *arguments, said=folder / "said")


def lines(folder: Path, out: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / out / "tiny" / "metrics.jsonl").read_text().splitlines()]


def test_groups_of_processes_hold_a_copy_each_and_gather_it_in_16_bits(folder):
    asked = ["--train.precision=bf16", "--train.log_every=1"]
    assert run(folder, 1, "train", "tiny.yaml", "--out=one", *asked) == [0]
    sharded = ["--train.parallel=fsdp", "--train.shard_group=1"]
    assert run(folder, 2, "train", "tiny.yaml", "--out=two", *asked, *sharded) == [0, 0]
    losses = [[line["loss"] for line in lines(folder, out) if "loss" in line] for out in ("one", "two")]
    assert len(losses[0]) >= 4 and losses[1] == pytest.approx(losses[0], rel=3e-2)


@pytest.mark.parametrize(
    "settings",
    [["parallel=ddp", "unused_parameters=static", "background_save=true"], ["parallel=fsdp", "background_save=true"]],
)
def test_two_processes_train_and_evaluate_number_world_as_one_does(folder, settings):
    assert run(folder, 1, "train", "tiny.yaml", "--out=one") == [0]
    assert run(folder, 2, "train", "tiny.yaml", "--out=two", *(f"--train.{one}" for one in settings)) == [0, 0]
    assert said(folder, "out") == ["two/tiny\n", ""] and said(folder, "err")[1] == ""
    for mine, theirs in zip(lines(folder, "one"), lines(folder, "two"), strict=True):
        for name in {"loss", "grad_norm", "accuracy", "n"} & mine.keys():
            assert theirs[name] == pytest.approx(mine[name], rel=1e-3), (mine["step"], name)

    assert run(folder, 1, "evaluate", "two/tiny", "--json") == [0]
    alone = json.loads(said(folder, "out", 1)[0])
    predictions = folder / "two" / "tiny" / "predictions" / "test.jsonl"
    answers = predictions.read_text()
    predictions.unlink()
    assert run(folder, 2, "evaluate", "two/tiny", "--json") == [0, 0]
    out = said(folder, "out")
    assert json.loads(out[0]) == alone and out[1] == ""
    assert predictions.read_text() == answers and len(answers.splitlines()) == alone["n"] == 21
    predictions.unlink()
    assert run(folder, 2, "predict", "two/tiny") == [0, 0]
    assert said(folder, "out") == [answers, ""] and predictions.read_text() == answers


def test_a_mistake_is_told_once_by_all_processes(folder):
    assert run(folder, 2, "train", "tiny.yaml", "--task=vqq") == [2, 2]
    told = "".join(said(folder, "err"))
    assert told.count("mm-kptm: ") == 1 and "did you mean vqa?" in told and "Traceback" not in told


def test_a_mistake_that_one_process_meets_ends_all_and_is_told_once(folder):
    assert run(folder, 2, "train", "tiny.yaml", target=broken) == [2, 2]
    assert said(folder, "err") == ["", "mm-kptm: scans.npz is cut short\n"]


def test_a_process_that_is_killed_ends_all_with_a_sentence(folder):
    assert run(folder, 2, "train", "tiny.yaml", target=killed) == [2, -signal.SIGKILL]
    (told, nothing) = said(folder, "err")
    assert told.startswith("mm-kptm: another process of this launch died without a word") and nothing == ""
    assert told.count("\n") == 1
