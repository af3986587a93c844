"""Two processes train and measure what one does."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
from pathlib import Path

import pytest
import torch
import torch.distributed

from mm_kptm.errors import UserError
from mm_kptm.train import Checkpoints, TrainSettings, fit, read_weights
from tests.train.toy import Line, PointSource

#: 8 examples a step are cut into even parts; 9 and 13 examples are measured in uneven shares
SETTINGS = TrainSettings(steps=20, batch_size=8, lr=0.01, eval_every=10, save_every=10, log_every=5)
SPLITS = {"dev": 9, "test": 13, "few": 1}


def work(rank: int, processes: int, port: int, folder: str, poison: int | None) -> None:
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(processes), LOCAL_WORLD_SIZE=str(processes),
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), ACCELERATE_USE_CPU="true",
    )  # fmt: skip
    torch.set_num_threads(1)
    try:
        fitted = fit(
            Line(dropout=0.0),
            PointSource(60, shake=0.0, poison=poison),
            SETTINGS,
            Path(folder),
            evaluate={split: PointSource(n) for split, n in SPLITS.items()},
            resume=True,
            progress=False,
        )
        means = {split: evaluation.means for split, evaluation in fitted.evaluations.items()}
        (Path(folder) / f"means-{rank}.json").write_text(json.dumps(means))
    except UserError as error:
        (Path(folder) / f"error-{rank}").write_text(str(error))


class Idle(Line):
    """Has parameters that no loss reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.idle = torch.nn.Linear(4, 4)


def work_twice(rank: int, processes: int, port: int, folder: str, poison: int | None) -> None:
    work(rank, processes, port, f"{folder}/first", poison)
    settings = TrainSettings(steps=4, batch_size=8, lr=0.01, precision="bf16", unused_parameters=True, accumulate=2)
    fit(Idle(), PointSource(60), settings, Path(folder) / "second", progress=False)
    torch.distributed.destroy_process_group()


def launch(processes, folder, poison=None, target=work):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["mm_kptm.train", "tests.train.toy", "torch._dynamo"]
    )  # the optimiser imports the last
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = [
        context.Process(target=target, args=(rank, processes, port, str(folder), poison)) for rank in range(processes)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(90)
        assert process.exitcode == 0


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folders = {}
    for processes in (1, 2):
        folders[processes] = tmp_path_factory.mktemp(f"by{processes}")
        launch(processes, folders[processes])
    return folders


def weights(folder):
    return read_weights(Checkpoints(folder).find("latest") / "model.safetensors")


def records(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_two_processes_make_the_weights_of_one(runs):
    torch.testing.assert_close(weights(runs[2]), weights(runs[1]), rtol=1e-4, atol=1e-6)


def test_two_processes_log_the_losses_and_measures_of_one(runs):
    one, two = records(runs[1]), records(runs[2])
    assert [(r["step"], r["split"]) for r in one] == [(r["step"], r["split"]) for r in two]
    for mine, theirs in zip(one, two, strict=True):
        for name in {"loss", "lr", "error", "closeness", "n", "grad_norm"} & mine.keys():
            assert theirs[name] == pytest.approx(mine[name], rel=1e-3), (mine["step"], name)


def test_every_process_gets_the_whole_evaluation(runs):
    means = [json.loads((runs[2] / f"means-{rank}.json").read_text()) for rank in range(2)]
    assert means[0] == means[1] and means[0].keys() == SPLITS.keys()


def test_the_environment_says_how_many(runs):
    assert [json.loads((runs[n] / "environment.json").read_text())["processes"] for n in (1, 2)] == [1, 2]


def test_two_processes_resume_what_one_began(runs, tmp_path):
    """From the checkpoint of step 10, with the same batches as before."""
    source = runs[1] / "checkpoints" / "step-00000010"
    (tmp_path / "checkpoints").mkdir()
    source.rename(tmp_path / "checkpoints" / source.name)
    Checkpoints(tmp_path).point("latest", source)
    launch(2, tmp_path)
    torch.testing.assert_close(weights(tmp_path), weights(runs[1]), rtol=1e-4, atol=1e-6)


def test_a_second_run_chooses_its_precision_and_may_leave_parameters_idle(tmp_path):
    launch(2, tmp_path, target=work_twice)
    torch.testing.assert_close(weights(tmp_path / "second")["idle.weight"], Idle().idle.weight)
    assert not torch.equal(weights(tmp_path / "second")["last.weight"], Line().last.weight)


def test_all_processes_stop_at_the_loss_that_one_of_them_sees(tmp_path):
    launch(2, tmp_path, poison=17)
    errors = [(tmp_path / f"error-{rank}").read_text() for rank in range(2)]
    assert errors[0] == errors[1] and errors[0].startswith("the loss is nan at step")
    assert "17" in errors[0].split(" on examples ")[1].split(";")[0]
