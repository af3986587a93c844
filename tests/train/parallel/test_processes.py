"""Several processes train and measure what one does, with whole weights in each or sharded over all."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mm_kptm.errors import UserError
from mm_kptm.train import Checkpoints, TrainSettings, fit, read_weights, verify
from mm_kptm.train.checkpoint import load_trainer
from mm_kptm.train.parallel.processes import all_gather_rows, rank_and_world_size, start
from mm_kptm.train.parallel.sharded import units
from tests.train import launching
from tests.train.toy import Deep, Followed, Line, PointSource

#: 8 examples a step make even parts for two processes and uneven ones for three, who measure 9, 13 and 1 example too
SETTINGS = TrainSettings(steps=12, batch_size=8, lr=0.01, eval_every=6, save_every=6, log_every=3)
SPLITS = {"dev": 9, "test": 13, "few": 1}
WAYS = {"one": (1, "auto"), "ddp2": (2, "ddp"), "ddp3": (3, "auto"), "fsdp2": (2, "fsdp"), "fsdp3": (3, "fsdp")}
SEVERAL = [way for way in WAYS if way != "one"]


def work(folder: str, settings: TrainSettings, poison: int | None) -> None:
    model = Deep()
    try:
        fitted = fit(
            model,
            PointSource(60, shake=0.0, poison=poison),
            settings,
            Path(folder),
            evaluate={split: PointSource(n) for split, n in SPLITS.items()},
            resume=True,
            progress=False,
        )
        means = {split: evaluation.means for split, evaluation in fitted.evaluations.items()}
        (Path(folder) / f"means-{rank_and_world_size()[0]}.json").write_text(json.dumps(means))
        torch.save(model.state_dict(), Path(folder) / f"model-{rank_and_world_size()[0]}.pt")
    except UserError as error:
        (Path(folder) / f"error-{rank_and_world_size()[0]}").write_text(str(error))


class Idle(Followed):
    """Has parameters that no loss reaches, others that only some examples reach, and a copy that follows others."""

    def __init__(self) -> None:
        super().__init__(dropout=0.0)
        self.idle = torch.nn.Linear(4, 4)
        self.rare = torch.nn.Linear(4, 1)

    def loss(self, batch):
        loss, some = super().loss(batch), batch.x[batch.x[:, 0] > 0.8]
        return loss + self.rare(some).square().sum() / len(batch) if len(some) else loss


def work_thrice(folder: str, settings: TrainSettings, poison: int | None) -> None:
    work(f"{folder}/first", settings, poison)
    alone = rank_and_world_size()[1] == 1
    wide = TrainSettings(
        steps=6,
        batch_size=4,
        lr=0.01,
        gradient_accumulation_steps=2,
        optimizer="bert-adam",
        parallel=settings.parallel,
        save_every=1 if alone else None,
        keep_last=6,
    )
    fit(Idle(), PointSource(60, shake=0.0), wide, Path(folder) / "second", progress=False)
    fit(Line(), PointSource(60), replace(settings, precision="bf16"), Path(folder) / "third", progress=False)


def launch(processes, folder, *, poison=None, target=work, **changes):
    codes = launching.start(target, processes, str(folder), replace(SETTINGS, **changes), poison)
    assert codes == [0] * processes


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folders = {}
    for way, (processes, parallel) in WAYS.items():
        folders[way] = tmp_path_factory.mktemp(way)
        launch(processes, folders[way], parallel=parallel)
    return folders


def weights(folder):
    return read_weights(Checkpoints(folder).find("latest") / "model.safetensors")


def records(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def shards(folder):
    return [read_weights(path) for path in sorted((Checkpoints(folder).find("latest") / "shards").iterdir())]


def began(folder, source):
    """A run that stopped after the first checkpoint of another."""
    name = "step-00000006"
    shutil.copytree(source / "checkpoints" / name, folder / "checkpoints" / name)
    Checkpoints(folder).point("latest", Path(name))
    return folder


@pytest.mark.parametrize("way", SEVERAL)
def test_several_processes_make_the_weights_of_one(runs, way):
    torch.testing.assert_close(weights(runs[way]), weights(runs["one"]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("way", SEVERAL)
def test_several_processes_log_the_losses_and_measures_of_one(runs, way):
    one, several = records(runs["one"]), records(runs[way])
    assert [(r["step"], r["split"]) for r in one] == [(r["step"], r["split"]) for r in several]
    for mine, theirs in zip(one, several, strict=True):
        for name in {"loss", "lr", "error", "closeness", "n", "grad_norm"} & mine.keys():
            assert theirs[name] == pytest.approx(mine[name], rel=1e-3), (mine["step"], name)


@pytest.mark.parametrize("way", SEVERAL)
def test_every_process_gets_the_whole_evaluation_and_the_trained_model(runs, way):
    processes = WAYS[way][0]
    means = [json.loads((runs[way] / f"means-{rank}.json").read_text()) for rank in range(processes)]
    assert all(other == means[0] for other in means) and means[0].keys() == SPLITS.keys()
    for rank in range(processes):
        model = torch.load(runs[way] / f"model-{rank}.pt")
        torch.testing.assert_close(model, weights(runs[way]), rtol=0, atol=0)


def test_the_environment_says_how_many_and_how(runs):
    facts = {way: json.loads((folder / "environment.json").read_text()) for way, folder in runs.items()}
    assert {way: fact["processes"] for way, fact in facts.items()} == {way: n for way, (n, _) in WAYS.items()}
    assert [facts[way]["parallel"] for way in WAYS] == ["one process", "ddp", "ddp", "fsdp", "fsdp"]


def test_every_process_writes_its_shards_and_the_manifest_covers_them(runs):
    for way, n in (("fsdp2", 2), ("fsdp3", 3)):
        checkpoint = Checkpoints(runs[way]).find("latest")
        names = {f"shards/{path.name}" for path in (checkpoint / "shards").iterdir()}
        assert len(names) == n
        verify(checkpoint)
        assert names < json.loads((checkpoint / "manifest.json").read_text()).keys()
        assert load_trainer(checkpoint)["optimizer"] is None


def test_no_process_holds_more_than_its_share(runs):
    """4 rows are two and two for two processes, and two, two and none for three."""
    for way, rows in (("fsdp2", [2, 2]), ("fsdp3", [2, 2, 0])):
        for name in ("model.first.weight", "model.layers.1.self_attention.weight", "optimizer.first.weight.exp_avg"):
            assert [len(shard[name]) for shard in shards(runs[way])] == rows


@pytest.mark.parametrize(
    ("source", "processes", "parallel"),
    [("one", 2, "ddp"), ("one", 2, "fsdp"), ("fsdp2", 3, "fsdp"), ("fsdp3", 1, "auto"), ("fsdp2", 2, "ddp")],
)
def test_a_run_goes_on_with_other_processes(runs, tmp_path, source, processes, parallel):
    """With the same batches as before, whoever computes them and however the weights lie."""
    launch(processes, began(tmp_path, runs[source]), parallel=parallel)
    torch.testing.assert_close(weights(tmp_path), weights(runs["one"]), rtol=1e-4, atol=1e-6)


def test_sharded_weights_resume_exactly(runs, tmp_path):
    launch(2, began(tmp_path, runs["fsdp2"]), parallel="fsdp")
    torch.testing.assert_close(weights(tmp_path), weights(runs["fsdp2"]), rtol=0, atol=0)
    torch.testing.assert_close(shards(tmp_path), shards(runs["fsdp2"]), rtol=0, atol=0)


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_later_runs_of_a_process_may_have_idle_parameters_and_another_precision(tmp_path, parallel):
    """What no example of a step reaches neither moves nor decays, as in one process."""
    launch(1, tmp_path / "one", target=work_thrice)
    launch(2, tmp_path / "two", target=work_thrice, parallel=parallel)
    one, two = weights(tmp_path / "one" / "second"), weights(tmp_path / "two" / "second")
    torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(two["idle.weight"], Idle().idle.weight, rtol=0, atol=0)
    steps = [read_weights(path / "model.safetensors") for path in (tmp_path / "one/second/checkpoints").glob("step-*")]
    assert 1 < len({tuple(step["rare.bias"].tolist()) for step in steps}) < len(steps)  # reached by some steps only
    assert not torch.equal(weights(tmp_path / "two" / "third")["last.weight"], Line().last.weight)


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_all_processes_stop_at_the_loss_that_one_of_them_sees(tmp_path, parallel):
    launch(2, tmp_path, poison=17, parallel=parallel)
    errors = [(tmp_path / f"error-{rank}").read_text() for rank in range(2)]
    assert errors[0] == errors[1] and errors[0].startswith("the loss is nan at step")
    assert "17" in errors[0].split(" on examples ")[1].split(";")[0]


def gather(folder: str) -> None:
    start()
    rank = rank_and_world_size()[0]
    torch.save(all_gather_rows(torch.full((2 * rank, 3), float(rank))), Path(folder) / f"{rank}.pt")


def test_rows_of_all_processes_are_gathered_though_they_differ_in_number(tmp_path):
    assert launching.start(gather, 3, str(tmp_path)) == [0, 0, 0]
    for rank in range(3):
        assert torch.load(tmp_path / f"{rank}.pt").tolist() == [[float(n)] * 3 for n in (1, 1, 2, 2, 2, 2)]


def test_layers_are_put_together_one_by_one():
    model = Deep()
    assert units(model) == list(model.layers)
