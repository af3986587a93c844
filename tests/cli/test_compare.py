"""The verb compare says to the floor below what was asked, and prints tables for readers or JSON for machines."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mm_kptm import cli, experiment
from mm_kptm.report import Comparison, Row, Table

FILE = """\
name: NAME
task: vqa
encoder: {recipe: uniter-base}
data: {name: number-world, questions: 100}
train: {steps: 10}
"""


@dataclass(frozen=True)
class Found:
    comparison: Comparison
    report: Path
    missing: dict[str, str] = field(default_factory=dict)


@pytest.fixture(autouse=True)
def asked(tmp_path, monkeypatch):
    """What ``experiment.compare`` was asked, each time."""
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        Path(f"{name}.yaml").write_text(FILE.replace("NAME", name))
    calls: list[dict] = []

    def compare(arms, out, **options):
        calls.append({"arms": arms, "out": out, **options})
        print("a library talks")
        options["say"]("2 arms with 5 seeds: 10 runs.")
        table = Table("Split test", (Row("one", "accuracy", 0.5, 0.4, 0.6, 40), Row("two", "accuracy", 0.75)))
        return Found(Comparison("one / two", "", 5, (table,)), out / "report.html")

    monkeypatch.setattr(experiment, "compare", compare)
    return calls


def test_it_compares_five_seeds_with_nulls_on_equal_budgets(asked, capsys):
    assert cli.main(["compare", "one.yaml", "two.yaml"]) == 0
    (call,) = asked
    assert [arm.name for arm in call["arms"]] == ["one", "two"]
    assert (call["out"], call["seeds"], call["splits"]) == (Path("comparison"), 5, ("test",))
    assert call["nulls"] and not call["unequal"]
    out, err = capsys.readouterr()
    assert "one / two" in out and "75.0" in out and out.endswith("report: comparison/report.html\n")
    assert err == "2 arms with 5 seeds: 10 runs.\n"


def test_options_are_passed_on(asked):
    arguments = ["--seeds", "2", "--out", "here", "--workers=3", "--split", "dev", "--split=test", "--split", "dev"]
    assert cli.main(["compare", "one.yaml", *arguments, "--no-nulls", "--unequal"]) == 0
    (call,) = asked
    assert (call["seeds"], call["out"], call["workers"]) == (2, Path("here"), 3)
    assert call["splits"] == ("dev", "test")
    assert not call["nulls"] and call["unequal"]


def test_an_override_changes_every_experiment(asked):
    assert cli.main(["compare", "one.yaml", "two.yaml", "--train.steps=3", "--seeds=2"]) == 0
    assert [arm.train.steps for arm in asked[0]["arms"]] == [3, 3]
    assert asked[0]["seeds"] == 2


def test_for_machines_there_is_json_and_nothing_else(asked, capsys):
    assert cli.main(["compare", "one.yaml", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["tables"][0]["rows"][1] == {
        "arm": "two", "metric": "accuracy", "value": 0.75, "baseline": False,
    }  # fmt: skip
    assert "a library talks" in err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nix.yaml"], "the experiment file nix.yaml cannot be read: No such file or directory"),
        (["one.yaml", "--train.stps=3"], "--train.stps: unknown key train.stps; did you mean steps?"),
        (["one.yaml", "--seeds", "many"], "argument --seeds: invalid int value: 'many'; see `mm-kptm compare --help`"),
        ([], "the following arguments are required: EXPERIMENT.yaml; see `mm-kptm compare --help`"),
    ],
)
def test_a_mistake_is_one_sentence(asked, capsys, arguments, sentence):
    assert cli.main(["compare", *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"mm-kptm: {sentence}\n")
    assert not asked
