"""Hyper-parameter search: any keys, on dev alone, resumable, and one failure does not end it."""

from __future__ import annotations

import errno
import json
import os
import sys

import pytest

from mm_kptm import config, experiment
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import Built
from mm_kptm.experiment.settings import Experiment
from mm_kptm.experiment.tuning import hyperparameter_search as module
from mm_kptm.experiment.tuning.search_space import Choice, Range, as_override, parse_space, split_over
from mm_kptm.io.atomic import writing
from mm_kptm.io.lock import locked

BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c"]
FILE = """\
name: tiny
task: sentence-classification
encoder: {recipe: bert-base, sizes: {dim: 8, num_heads: 2, num_layers: 1, ffn_dim: 8, max_positions: 16}}
data: {name: custom-text, train: train.jsonl, dev: dev.jsonl, test: test.jsonl, vocabulary: vocab.txt, max_length: 8}
train: {steps: 4, batch_size: 4, eval_every: 2, monitor: dev/accuracy}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An experiment on files, of which that of the test split is missing: nobody may read it."""
    monkeypatch.chdir(tmp_path)
    lines = [json.dumps({"text": text, "label": label}) for text, label in (("a b", "x"), ("c b", "y"))]
    (tmp_path / "train.jsonl").write_text("\n".join(lines * 6))
    (tmp_path / "dev.jsonl").write_text("\n".join(lines * 2))
    (tmp_path / "vocab.txt").write_text("\n".join(BERT))
    (tmp_path / "tiny.yaml").write_text(FILE)
    return tmp_path


def sweep(folder, **more):
    said = []
    options = {"trials": 3, "over": {"train.lr": "log:1e-4:1e-2"}, **more}
    return module.sweep(folder / "tiny.yaml", folder / "sweep", say=said.append, **options), said


def test_the_test_split_is_not_read(folder, monkeypatch):
    """Its file is missing, which stops every other command; and no other split than train and dev is opened."""
    with pytest.raises(UserError, match=r"test\.jsonl"):
        experiment.train(config.read(Experiment, folder / "tiny.yaml"), folder / "run", progress=False)
    opened = []
    source = Built.source
    monkeypatch.setattr(Built, "source", lambda built, split: opened.append(split) or source(built, split))
    found, _ = sweep(folder, trials=2)
    assert set(opened) == {"train", "dev"} and len(found.trials) == 2
    trial = config.read(Experiment, folder / "sweep/trial-000/config.yaml")
    assert trial.data.test is None
    assert config.read(Experiment, found.best).data.test.name == "test.jsonl", "the best experiment has it again"


def test_a_sweep_leaves_a_table_and_the_best_experiment(folder):
    over = {"train.lr": "log:1e-4:1e-2", "train.batch_size": "int:2:6:2", "encoder.sizes.dropout": [0.0, 0.1]}
    found, said = sweep(folder, over=over, overrides=("--train.seed=3",))
    assert len(said) == 3 and said[0].startswith("trial 0: train.lr ") and "dev/accuracy" in said[0]
    values = [trial.value for trial in found.trials]
    assert values == sorted(values, reverse=True)
    for trial in found.trials:
        settings = config.read(Experiment, folder / f"sweep/trial-{trial.number:03d}/config.yaml")
        assert settings.train.lr == trial.params["train.lr"] and 1e-4 <= settings.train.lr <= 1e-2
        assert settings.train.batch_size == trial.params["train.batch_size"] in (2, 4, 6)
        assert settings.encoder.sizes["dropout"] == trial.params["encoder.sizes.dropout"]
        lines = (folder / f"sweep/trial-{trial.number:03d}/metrics.jsonl").read_text().splitlines()
        measured = {one["step"]: one["accuracy"] for one in map(json.loads, lines) if one["split"] == "dev"}
        assert measured[trial.step] == trial.value == max(measured.values())
    best = config.read(Experiment, found.best)
    first = found.trials[0].params
    assert (best.name, best.train.lr, best.train.seed) == ("tiny-best", first["train.lr"], 3)
    assert best.sweep == {} and best.out == config.read(Experiment, folder / "tiny.yaml").out
    written = json.loads((folder / "sweep/trials.json").read_text())
    assert [one["number"] for one in written["trials"]] == [trial.number for trial in found.trials]


def test_the_space_may_stand_in_the_file(folder):
    (folder / "tiny.yaml").write_text(FILE + "sweep: {train.lr: log:1e-4:1e-2, train.warmup: [0, 0.5]}\n")
    found, _ = sweep(folder, over={"train.warmup": "0.25"}, trials=1)
    assert found.trials[0].params.keys() == {"train.lr", "train.warmup"}
    assert found.trials[0].params["train.warmup"] == 0.25, "what the command says stands above the file"
    assert config.read(Experiment, folder / "tiny.yaml").sweep["train.warmup"] == (0, 0.5)


def test_a_loss_is_to_fall(folder):
    found, _ = sweep(folder, monitor="dev/loss", trials=4)
    values = [trial.value for trial in found.trials]
    assert values == sorted(values) and len(set(values)) > 1


def test_a_sweep_that_is_stopped_goes_on_and_ends_as_an_unbroken_one(folder, monkeypatch):
    whole, _ = sweep(folder, trials=3)
    (folder / "sweep").rename(folder / "whole")
    train, calls = module.train, []

    def killed(settings, run, **options):
        calls.append(settings.name)
        if len(calls) == 2:
            first = dict(options, progress=False)
            train(settings, run, **first)  # all of the run is done, but nobody has written down how it ended
            raise KeyboardInterrupt
        return train(settings, run, **options)

    monkeypatch.setattr(module, "train", killed)
    with pytest.raises(KeyboardInterrupt):
        sweep(folder, trials=3)
    again, said = sweep(folder, trials=3)
    assert calls == ["trial-000", "trial-001", "trial-001", "trial-002"] and len(said) == 2
    assert [trial.params for trial in again.trials] == [trial.params for trial in whole.trials]
    assert [trial.value for trial in again.trials] == [trial.value for trial in whole.trials]
    more, said = sweep(folder, trials=4)
    assert len(more.trials) == 4 and len(said) == 1, "only the new one is run"


def test_a_failing_trial_is_recorded_and_the_others_go_on(folder):
    found, said = sweep(folder, over={"encoder.sizes.dim": "8,9"}, sampler="grid")
    assert len(said) == 2 and "failed: " in said[1]
    good, bad = found.trials
    assert (good.params, good.error) == ({"encoder.sizes.dim": 8}, None)
    assert bad.value is None and "9" in bad.error
    assert config.read(Experiment, found.best).encoder.sizes["dim"] == 8
    with pytest.raises(UserError, match=r"^all 1 trials failed, the first one with: .*9"):
        module.sweep(folder / "tiny.yaml", folder / "other", trials=1, over={"encoder.sizes.dim": "9"}, say=len)


def test_a_grid_tries_every_combination_once(folder):
    over = {"train.batch_size": "2,4", "train.optimizer": "adamw,bert-adam"}
    found, _ = sweep(folder, over=over, sampler="grid", trials=10)
    tried = {(trial.params["train.batch_size"], trial.params["train.optimizer"]) for trial in found.trials}
    assert len(found.trials) == 4 and tried == {(a, b) for a in (2, 4) for b in ("adamw", "bert-adam")}
    with pytest.raises(UserError, match=r"^a grid has lists of values, but train\.lr is a range"):
        sweep(folder, sampler="grid")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"over": {}}, "there is nothing to search; name keys with --over"),
        (
            {"over": {"train.learning_rate": "log:1e-4:1e-2"}},
            "unknown key train.learning_rate; learning_rate is called",
        ),
        (
            {"over": {"train.optimizer": "adamw,sgd"}},
            "--train.optimizer: train.optimizer must be one of adamw, bert-adam",
        ),
        ({"over": {"train.warmup": "uniform:0.5:2"}}, "--train.warmup: train.warmup is 2.0 but must be a fraction"),
        ({"trials": 0}, "--trials is 0 but must be at least 1"),
        ({"monitor": "test/accuracy"}, "a sweep is judged by test/accuracy, but trials are measured on the split dev"),
        ({"overrides": ("--train.monitor=null",)}, "a sweep needs a measure to judge by; name it with --monitor"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_any_trial(folder, more, message):
    with pytest.raises(UserError) as raised:
        sweep(folder, **more)
    assert message in str(raised.value) and not (folder / "sweep").exists()


def test_another_sweep_in_the_same_folder_is_refused(folder):
    sweep(folder, trials=1)
    with pytest.raises(UserError, match="sweep holds a sweep with another space; name another folder with --out"):
        sweep(folder, over={"train.lr": "log:1e-5:1e-2"})
    with pytest.raises(UserError, match="holds a sweep with another monitor"):
        sweep(folder, monitor="dev/loss")
    with pytest.raises(UserError, match="holds a sweep with another experiment"):
        sweep(folder, overrides=("--train.steps=5",))


def test_a_missing_measure_fails_with_its_name(folder):
    with pytest.raises(UserError, match=r"^all 1 trials failed, the first one with: .*no measure 'f1'; it has"):
        sweep(folder, monitor="dev/f1", trials=1)


def test_without_optuna_the_extra_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(
        UserError, match=r"^a sweep needs Optuna, which is not installed; pip install 'mm-kptm\[sweep\]'$"
    ):
        sweep(folder)


@pytest.mark.parametrize(
    ("given", "parsed"),
    [
        ("log:1e-5:1e-3", Range("log", 1e-5, 1e-3)),
        ("uniform:0:0.3", Range("uniform", 0.0, 0.3)),
        ("int:2:12", Range("int", 2, 12)),
        ("int:2:12:2", Range("int", 2, 12, 2)),
        ("16, 32", Choice((16, 32))),
        ("[16, 32]", Choice((16, 32))),
        ("true,false", Choice((True, False))),
        ("linear,cosine", Choice(("linear", "cosine"))),
        ((1e-4, "x"), Choice((1e-4, "x"))),
    ],
)
def test_values_are_written_as_a_range_or_a_list(given, parsed):
    assert parse_space({"a.b": given}) == {"a.b": parsed}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("log:0:1", "sweep of a.b is 'log:0:1', but 0 < LOW < HIGH must hold"),
        ("int:3:2", "sweep of a.b is 'int:3:2', but LOW < HIGH, and STEP at least 1 must hold"),
        ("log:1e-3", "sweep of a.b is 'log:1e-3' but has the form log:LOW:HIGH"),
        ("int:1.5:3", "sweep of a.b is 'int:1.5:3' but has the form log:LOW:HIGH"),
        ("lag:1:2", "sweep of a.b is 'lag:1:2'; did you mean log?"),
        ((), "sweep of a.b is an empty list; give it the values to try"),
    ],
)
def test_a_malformed_range_is_named(given, message):
    with pytest.raises(UserError) as raised:
        parse_space({"a.b": given})
    assert str(raised.value).startswith(message)


def test_keys_and_values_are_told_apart():
    assert split_over("train.lr=log:1:2") == ("train.lr", "log:1:2")
    assert split_over("--train.lr=1,2") == ("train.lr", "1,2")
    with pytest.raises(UserError, match=r"^--over is 'train\.lr' but has the form KEY=VALUES"):
        split_over("train.lr")
    assert [as_override("a", value) for value in (1e-05, True, "null", "x y")] == [
        "--a=1.0e-05", "--a=true", "--a='null'", "--a=x y"
    ]  # fmt: skip


def test_two_sweeps_in_one_folder_are_refused(folder):
    with (
        locked(folder / "sweep", "folder of a sweep"),
        pytest.raises(UserError, match=r"folder of a sweep .*sweep is being written by process \d+ on"),
    ):
        sweep(folder)
    assert not (folder / "sweep" / "study.db").exists()


def test_a_damaged_study_is_named(folder):
    sweep(folder, trials=1)
    (folder / "sweep" / "study.db").write_bytes(b"no database" * 1000)
    with pytest.raises(UserError, match=r"study.db cannot be used as the study of a sweep \(file is not a database\)"):
        sweep(folder, trials=2)


def test_a_full_disk_ends_a_sweep_and_no_trial(folder, monkeypatch):
    """The trial is not recorded as failed: it goes on when there is space again."""
    unbroken, _ = sweep(folder)
    train, times = module.train, []

    def full(*args, **options):
        times.append(1)
        if len(times) == 2:
            with writing(folder / "model.safetensors"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return train(*args, **options)

    monkeypatch.setattr(module, "train", full)
    options = {"trials": 3, "over": {"train.lr": "log:1e-4:1e-2"}, "say": lambda line: None}
    with pytest.raises(UserError, match="No space left on device; free some space"):
        module.sweep(folder / "tiny.yaml", folder / "full", **options)
    assert module.sweep(folder / "tiny.yaml", folder / "full", **options).trials == unbroken.trials
