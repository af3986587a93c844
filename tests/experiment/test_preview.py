"""A dry run checks everything that a run would meet before its first update, and writes nothing."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mm_kptm import experiment
from mm_kptm.errors import UserError
from mm_kptm.experiment.run import remove_run
from mm_kptm.experiment.settings import Experiment
from tests.experiment.test_run import tiny


def changed(settings: Experiment, **train: object) -> Experiment:
    return replace(settings, train=replace(settings.train, **train))  # type: ignore[arg-type]


@pytest.mark.parametrize("parts", [1, 2])
def test_the_loss_of_a_dry_run_is_that_of_the_first_step(tmp_path: Path, parts: int) -> None:
    sizes = {"num_layers": 1, "dim": 16, "num_heads": 2, "ffn_dim": 32, "dropout": 0.3}
    settings = changed(tiny(tmp_path), log_every=1, gradient_accumulation_steps=parts)
    settings = replace(settings, encoder=replace(settings.encoder, sizes=sizes))
    checked = experiment.dry_run(settings)
    assert not settings.folder.exists()
    experiment.train(settings, settings.folder, progress=False)
    first = json.loads((settings.folder / "metrics.jsonl").read_text().splitlines()[0])
    assert checked.loss == pytest.approx(first["loss"], abs=1e-6)
    assert (checked.steps, checked.batch_size, checked.examples) == (4, 16, {"train": 60, "dev": 20})
    assert len(checked.first) == 3 and all(example.text.startswith("[CLS]") for example in checked.first)
    assert 0 < checked.trained_parameters <= checked.parameters
    assert experiment.dry_run(settings) == checked


def test_epochs_are_counted_in_steps(tmp_path: Path) -> None:
    settings = changed(tiny(tmp_path), steps=None, epochs=3)
    steps = experiment.dry_run(settings).steps
    experiment.train(settings, settings.folder, progress=False)
    assert (settings.folder / "checkpoints" / "latest").read_text() == f"step-{steps:08d}\n"


@pytest.mark.parametrize(
    ("train", "sentence"),
    [
        ({"monitor": "dev/f1"}, "train.monitor is dev/f1, but dev has no measure 'f1'; it has accuracy, loss"),
        ({"monitor": "test/loss"}, "train.monitor is test/loss, but no split 'test' is evaluated"),
    ],
)
def test_what_a_run_would_refuse_late_is_refused_at_once(tmp_path: Path, train: dict[str, str], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        experiment.dry_run(changed(tiny(tmp_path), **train))
    assert str(caught.value).startswith(sentence)


def test_an_overwritten_run_leaves_nothing_behind(tmp_path: Path) -> None:
    settings = tiny(tmp_path)
    experiment.train(settings, settings.folder, progress=False)
    (settings.folder / "old.txt").write_text("of the run before")
    weights = (settings.folder / "model" / "model.safetensors").read_bytes()
    experiment.train(settings, settings.folder, overwrite=True, progress=False)
    assert not (settings.folder / "old.txt").exists()
    assert (settings.folder / "model" / "model.safetensors").read_bytes() == weights
    other = changed(settings, steps=2)
    experiment.train(other, settings.folder, overwrite=True, progress=False)
    assert [path.name for path in sorted((settings.folder / "checkpoints").glob("step-*"))] == ["step-00000002"]


def test_settings_that_fail_leave_the_run_before_as_it_is(tmp_path: Path) -> None:
    settings = tiny(tmp_path)
    experiment.train(settings, settings.folder, progress=False)
    with pytest.raises(UserError):
        experiment.train(replace(settings, task="nlvr"), settings.folder, overwrite=True, progress=False)
    assert (settings.folder / "model" / "model.safetensors").is_file()


def test_a_folder_that_is_no_run_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"is not overwritten: it is no run folder \(it has no config.yaml\)"):
        remove_run(tmp_path)
    assert (tmp_path / "thesis.tex").is_file()
