"""The verbs on runs ask the floors below for what the user asked of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from mm_kptm import cli, config, experiment, report
from mm_kptm.experiment.defaults import with_defaults
from mm_kptm.experiment.settings import Experiment

FILE = """\
name: trial
task: vqa
encoder: {recipe: uniter-base, sizes: {num_layers: 2}}
data: {name: number-world, questions: 100}
train: {steps: 10}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("trial.yaml").write_text(FILE)
    return tmp_path


@pytest.fixture
def trained(monkeypatch):
    """What ``experiment.train`` was asked, each time."""
    asked: list[tuple[Experiment, Path, bool]] = []

    def train(settings: Experiment, folder: Path, *, resume: bool, overwrite: bool) -> None:
        asked.append((settings, folder, resume))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(config.dump(settings))

    monkeypatch.setattr(experiment, "train", train, raising=False)
    return asked


def test_train_reads_the_file_and_the_overrides(trained, capsys):
    assert cli.main(["train", "trial.yaml", "--train.steps=3", "--data.languages=[en, de]"]) == 0
    ((settings, folder, resume),) = trained
    assert (settings.train.steps, settings.data.languages, settings.encoder.sizes) == (
        3,
        ("en", "de"),
        {"num_layers": 2},
    )
    assert (folder, resume) == (Path("runs/trial"), False)
    assert capsys.readouterr().out == "runs/trial\n"


def test_a_run_is_resumed_by_its_file_or_by_its_folder(trained):
    cli.main(["train", "trial.yaml", "--train.steps=3"])
    assert cli.main(["train", "trial.yaml", "--train.steps=3", "--resume"]) == 0
    assert cli.main(["train", "--train.steps=3", "--resume", "trial.yaml"]) == 0
    assert cli.main(["train", "--resume", "runs/trial"]) == 0
    assert trained[1:] == [(trained[0][0], Path("runs/trial"), True)] * 3


def test_a_run_killed_before_it_began_is_begun_when_resumed(trained):
    assert cli.main(["train", "trial.yaml", "--resume"]) == 0
    assert trained == [(trained[0][0], Path("runs/trial"), True)]


def test_a_moved_run_is_resumed_where_it_is(trained):
    cli.main(["train", "trial.yaml"])
    Path("runs/trial").rename("moved")
    assert cli.main(["train", "--resume", "moved"]) == 0
    assert cli.main(["train", "trial.yaml", "--resume=moved"]) == 0
    assert [folder for _, folder, _ in trained[1:]] == [Path("moved")] * 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "train needs an experiment file, or --resume with a run folder"),
        (["--resume"], "train needs an experiment file, or --resume with a run folder"),
        (
            ["trial.yaml"],
            "the run folder runs/trial is not empty; go on with --resume, start anew with --overwrite, or name another "
            "with --name=...",
        ),
        (
            ["trial.yaml", "--resume", "--train.steps=11"],
            "runs/trial began with train.steps 10, not 11; resume it as it began, with "
            "`mm-kptm train --resume runs/trial`, or start a new run",
        ),
        (
            ["trial.yaml", "--resume", "--encoder.sizes.dim=8"],
            "runs/trial began with encoder.sizes.dim None, not 8; resume it as it began, with "
            "`mm-kptm train --resume runs/trial`, or start a new run",
        ),
        (
            ["--resume", "runs/trial", "--train.lr=1"],
            "--train.lr=1 would change a resumed run; it keeps the settings it began with",
        ),
        (
            ["--resume", "runs/trial", "--train.steps=11"],
            "runs/trial began with train.steps 10, not 11; resume it as it began, with "
            "`mm-kptm train --resume runs/trial`, or start a new run",
        ),
        (
            ["--resume", "nix"],
            "nix is no run folder: it has no config.yaml; name the folder that `mm-kptm train` wrote",
        ),
        (["trial.yaml", "--resume", "--overwrite"], "--resume and --overwrite exclude each other; leave one out"),
        (["trial.yaml", "--resume", "--dry-run"], "--resume and --dry-run exclude each other; leave one out"),
        (["trial.yaml", "--trian.steps=1"], "--trian.steps: unknown key trian; did you mean train?"),
        (["trial.yaml", "--name=a/b"], "--name: name is 'a/b' but names a folder: letters, digits, dots and dashes"),
        (["trial.yaml", "--task=null"], "there is nothing to train: give a task, or objectives with their weights"),
        (
            ["trial.yaml", "--objectives.mlm=0"],
            "--objectives.mlm: objectives.mlm has the weight 0.0 but must be greater than 0",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(trained, capsys, arguments, sentence):
    cli.main(["train", "trial.yaml"])
    capsys.readouterr()
    assert cli.main(["train", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.removeprefix("mm-kptm: ").removeprefix("trial.yaml, line 1: ") == sentence + "\n"
    assert len(trained) == 1


@pytest.mark.parametrize("start", [["--resume", "runs/trial"], ["trial.yaml", "--resume"]])
def test_a_run_that_has_ended_goes_on_for_more_steps(trained, capsys, start):
    cli.main(["train", "trial.yaml"])
    Path("runs/trial/model").mkdir()
    assert cli.main(["train", *start, "--train.steps=11"]) == 0
    settings, folder, resume = trained[-1]
    assert (settings.train.steps, folder, resume) == (11, Path("runs/trial"), True)
    assert "the learning rate follows the linear schedule of the new length" in capsys.readouterr().err
    assert cli.main(["train", *start, "--train.steps=9"]) == 2
    sentence = "mm-kptm: runs/trial was trained with train.steps 11, more than 9; ask for more, or a new run\n"
    assert capsys.readouterr().err == sentence
    assert cli.main(["train", *start, "--train.steps=12", "--train.lr=1"]) == 2
    assert len(trained) == 2


def test_only_the_first_of_several_processes_minds_the_folder(trained, monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    Path("runs/trial").mkdir(parents=True)
    Path("runs/trial/config.yaml").write_text("made by the first process a moment ago")
    assert cli.main(["train", "trial.yaml"]) == 0
    assert capsys.readouterr().out == ""


def test_the_keys_of_a_file_are_listed(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["train", "--keys"])
    assert ended.value.code == 0
    assert "--train.epochs=null" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--keys", "train.e"], ["--keys=train.e"]])
def test_the_keys_of_a_prefix_are_listed(capsys, arguments):
    with pytest.raises(SystemExit) as ended:
        cli.main(["train", *arguments])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert "--train.eps=" in out and "--train.lr=" not in out and "--data" not in out


def test_a_prefix_of_no_key_is_refused(capsys):
    assert cli.main(["train", "--keys", "trian"]) == 2
    assert capsys.readouterr().err == "mm-kptm: no key begins with trian; did you mean train?\n"


def test_the_config_is_printed_complete_and_nothing_is_written(trained, capsys):
    assert cli.main(["train", "trial.yaml", "--train.steps=3", "--print-config"]) == 0
    Path("printed.yaml").write_text(capsys.readouterr().out)
    printed = config.read(Experiment, Path("printed.yaml"))
    assert printed == with_defaults(config.read(Experiment, Path("trial.yaml"), ["--train.steps=3"]))
    assert "weight_decay: 0.01" in Path("printed.yaml").read_text()
    assert trained == [] and not Path("runs").exists()
    cli.main(["train", "trial.yaml", "--train.steps=3"])
    capsys.readouterr()
    assert cli.main(["train", "--resume", "runs/trial", "--print-config"]) == 0
    assert capsys.readouterr().out == Path("printed.yaml").read_text()


def test_a_run_is_overwritten_only_when_asked(monkeypatch):
    asked: list[bool] = []
    monkeypatch.setattr(
        experiment, "train", lambda settings, folder, *, resume, overwrite: asked.append(overwrite), raising=False
    )
    Path("runs/trial").mkdir(parents=True)
    Path("runs/trial/config.yaml").write_text("an earlier run")
    assert cli.main(["train", "trial.yaml"]) == 2
    assert cli.main(["train", "trial.yaml", "--overwrite"]) == 0
    assert asked == [True]


def test_a_dry_run_shows_the_first_batch_and_writes_nothing(capsys):
    small = ["--data.questions=40", "--data.eval_questions=10", "--encoder.sizes.dim=16", "--encoder.sizes.num_heads=2"]
    assert cli.main(["train", "trial.yaml", *small, "--train.batch_size=8", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "steps           10\n" in out and "first batch     8 examples\n" in out and "[CLS]" in out
    assert out.endswith("nothing was trained or written\n")
    assert sorted(path.name for path in Path().iterdir()) == ["trial.yaml"]


@dataclass(frozen=True)
class Shown:
    """What a demo found."""

    report: Path

    def text(self) -> str:
        return "a table"

    def plain(self) -> dict[str, object]:
        return {"gap": 0.5, "report": self.report}


def test_demo_prints_its_tables_and_the_report(monkeypatch, capsys):
    monkeypatch.setattr(
        "mm_kptm.suites.number_world.demo.demo.demo", lambda tier, out, seeds: Shown(out / f"{tier}.html")
    )
    assert cli.main(["demo", "--tier", "tiny", "--out", "here"]) == 0
    assert capsys.readouterr().out == (
        "a table\n\nreport: here/tiny.html\nreal drawings, names and facts: mm-kptm demo --suite atlas\n"
    )


def test_demo_for_machines_prints_json_and_nothing_else(monkeypatch, capsys):
    def chatty(tier: str, out: Path, seeds: int | None) -> Shown:
        print("a library talks")
        return Shown(out / "report.html")

    monkeypatch.setattr("mm_kptm.suites.number_world.demo.demo.demo", chatty)
    assert cli.main(["demo", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {"gap": 0.5, "report": "demo/report.html"}
    assert "a library talks" in err


def test_evaluate_prints_what_was_measured(trained, monkeypatch, capsys):
    cli.main(["train", "trial.yaml"])
    asked: list[str] = []

    def evaluate(run: Path, split: str, *, checkpoint: str) -> dict[str, object]:
        asked.append(checkpoint)
        return {"split": split, "accuracy": 0.75}

    monkeypatch.setattr("mm_kptm.experiment.api.evaluate", evaluate)
    capsys.readouterr()
    assert cli.main(["evaluate", "runs/trial"]) == 0
    assert capsys.readouterr().out == "split     test\naccuracy  0.75\n"
    assert cli.main(["evaluate", "runs/trial", "--split", "dev", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"split": "dev", "accuracy": 0.75}
    assert cli.main(["evaluate", "runs/trial", "--checkpoint", "best"]) == 0
    assert asked == ["last", "last", "best"]


def test_evaluate_wants_a_run_folder(capsys):
    assert cli.main(["evaluate", "nix"]) == 2
    assert "nix is no run folder: it has no config.yaml" in capsys.readouterr().err


def test_report_is_written_where_it_says(monkeypatch, capsys):
    def write(runs: list[Path], out: Path | None = None) -> Path:
        return out or runs[0] / "report.html"

    monkeypatch.setattr(report, "write", write)
    assert cli.main(["report", "runs/a"]) == 0
    assert cli.main(["report", "runs/a", "runs/b", "--out", "both.html"]) == 0
    assert capsys.readouterr().out == "runs/a/report.html\nboth.html\n"
