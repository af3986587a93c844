"""What Python offers is what the command line runs."""

import json
from pathlib import Path

import pytest
import torch

import mm_kptm as kptm
from mm_kptm import cli
from mm_kptm.errors import UserError
from mm_kptm.experiment import comparison
from mm_kptm.experiment.api import settings_of
from mm_kptm.experiment.settings import Experiment
from tests.experiment.test_comparison import one_by_one
from tests.experiment.test_run import tiny

SETTINGS = {
    "name": "tiny",
    "task": "vqa",
    "data": {"name": "number-world", "questions": 60, "eval_questions": 20, "languages": ["en", "fr"]},
    "encoder": {
        "recipe": "uniter-base",
        "sizes": {"num_layers": 1, "dim": 16, "num_heads": 2, "ffn_dim": 32, "dropout": 0.0},
        "init_std": 0.1,
    },
    "train": {"steps": 4, "batch_size": 16, "lr": 1e-3, "log_every": 2, "eval_every": 4},
}


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(json.dumps(SETTINGS))
    return tmp_path


def test_a_dict_is_trained_measured_and_opened(home, capsys) -> None:
    run = kptm.fit(SETTINGS, progress=False)
    assert run.folder == Path("runs/tiny") and run.settings == settings_of(home / "tiny.yaml")
    assert run.scores.keys() == {"train", "dev"} and 0 <= run.scores["dev"]["accuracy"] <= 1
    found = run.evaluate()
    assert found["accuracy"] == pytest.approx(run.evaluate(checkpoint=4)["accuracy"]) and found["n"] == 20
    capsys.readouterr()
    assert cli.main(["evaluate", "runs/tiny", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == kptm.evaluate("runs/tiny") == found
    assert run.system.recipe == "uniter-base" and run.report().is_file()
    # the same file by the verb gives the same weights
    assert cli.main(["train", "tiny.yaml", "--name=verb"]) == 0
    ours, theirs = run.system.state_dict(), kptm.load("runs/verb/model").state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def test_a_run_is_resumed_overwritten_or_refused(home) -> None:
    kptm.fit("tiny.yaml", progress=False)
    with pytest.raises(UserError, match=r"the run folder runs/tiny is not empty; go on with --resume"):
        kptm.fit("tiny.yaml", progress=False)
    longer = kptm.fit("runs/tiny", resume=True, progress=False, train={"steps": 6})
    assert longer.settings.train.steps == 6 and longer.settings.train.batch_size == 16
    assert kptm.fit(longer.settings, overwrite=True, progress=False, **{"train.steps": 2}).scores["train"]
    with pytest.raises(UserError, match="resume and overwrite exclude each other"):
        kptm.fit("tiny.yaml", resume=True, overwrite=True)


def test_a_comparison_is_that_of_the_verb(home, monkeypatch, capsys) -> None:
    monkeypatch.setattr(comparison, "outcomes", one_by_one)
    other = {**SETTINGS, "name": "other", "encoder": {**SETTINGS["encoder"], "init_std": 0.2}}
    found = kptm.compare(["tiny.yaml", other], "a", seeds=1, nulls=False, train={"steps": 2})
    assert "other over tiny" in str(found) and found.report.is_file()
    assert "2 of 2: other-seed-0" in capsys.readouterr().err
    (home / "other.yaml").write_text(json.dumps(other))
    verb = ["compare", "tiny.yaml", "other.yaml", "--out", "b", "--seeds", "1", "--no-nulls", "--train.steps=2"]
    assert cli.main(verb) == 0
    assert str(found) in capsys.readouterr().out
    alone = kptm.compare("tiny.yaml", "c", seeds=1, nulls=False, progress=False, train={"steps": 2})
    assert alone.comparison.arms.keys() == {"tiny"} and not capsys.readouterr().err


def test_settings_stay_what_they_are(tmp_path) -> None:
    settings = tiny(tmp_path)
    assert settings_of(settings) is settings
    changed = settings_of(settings, {"name": "b", "encoder": {"sizes": {"dim": 32}}, "train.lr": 0.1})
    assert (changed.name, changed.train.lr, changed.train.steps) == ("b", 0.1, 4)
    assert changed.encoder.sizes == settings.encoder.sizes | {"dim": 32} and isinstance(changed, Experiment)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: kptm.fit(3), "an experiment is a file, a dict of settings, a run folder .* of type int"),
        (lambda: kptm.compare([None]), "an experiment is a file, .* not a value of type NoneType"),
        (lambda: kptm.compare(7), "an experiment is a file, .* not a value of type int"),
        (lambda: kptm.evaluate(SETTINGS), "a run is what fit returned, or a run folder, not a value of type dict"),
        (lambda: kptm.evaluate("nowhere"), "nowhere is no run folder: it has no config.yaml"),
        (lambda: kptm.fit("nowhere.yaml"), "the experiment file nowhere.yaml cannot be read"),
        (lambda: kptm.fit(SETTINGS, train={"step": 3}), r"train.step: unknown key train.step; did you mean steps\?"),
        (lambda: kptm.fit(SETTINGS, **{"train.steps": "many"}), r"train.steps: train.steps must be .*, not .many."),
        (lambda: kptm.fit({**SETTINGS, "train": {"lr": torch.ones(1)}}), "train.lr: settings are .* type Tensor"),
        (lambda: kptm.fit({1: 2}), "the experiment: keys are text, but 1 is a value of type int"),
        (lambda: kptm.fit({"name": "x"}), "the experiment: the key encoder is missing"),
    ],
)  # fmt: skip
def test_a_wrong_type_gets_a_sentence(call, sentence) -> None:
    with pytest.raises(UserError, match=sentence):
        call()
