"""A task, a system, an objective or a data set out of one file, and runs that know which file it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import mm_kptm
from mm_kptm import cli
from mm_kptm.errors import UserError
from mm_kptm.systems import discovery, load_plugin, plugin_files

DOCS = Path(__file__).parents[2] / "docs"
TASK = DOCS.joinpath("add-a-task.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
SYSTEM = """
from dataclasses import replace
from mm_kptm.recipes.bert import BERT_BASE
from mm_kptm.objectives.spec import ObjectiveSpec

MINE = replace(BERT_BASE, name="bert-mine", family="bert-mine", sizes={"num_layers": 3})
LOSS = ObjectiveSpec("my-loss", "nobody", lambda context: None)
"""
EXPERIMENT = """\
name: language-of
task: language-of
data: {name: number-world, questions: 40, eval_questions: 10}
encoder: {recipe: bert-base, sizes: {num_layers: 1, dim: 8, num_heads: 2, ffn_dim: 8}}
train: {steps: 2, batch_size: 8}
"""


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """A folder with the files, and no plug-in of another test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plugin_files, "_loaded", {})
    monkeypatch.setenv(plugin_files.VARIABLE, "")
    Path("task.py").write_text(TASK)
    Path("system.py").write_text(SYSTEM)
    Path("experiment.yaml").write_text(EXPERIMENT)
    yield
    plugin_files._loaded.clear()
    for forget in discovery._forget:
        forget()


def forget_all(monkeypatch):
    """As a new process has it."""
    monkeypatch.setattr(plugin_files, "_loaded", {})
    for forget in discovery._forget:
        forget()


def listed(capsys, *arguments):
    assert cli.main([*arguments, "--json"]) == 0
    return capsys.readouterr().out


def test_what_a_file_holds_is_listed_and_shown(capsys):
    assert "bert-mine" not in listed(capsys, "list", "systems")
    assert "bert-mine" in listed(capsys, "list", "systems", "--plugin", "system.py")
    assert "my-loss" in listed(capsys, "list", "objectives", "--plugin=system.py")
    assert "language-of" in listed(capsys, "list", "tasks", "--plugin", "system.py", "--plugin", "task.py")
    assert json.loads(listed(capsys, "show", "bert-mine", "--plugin", "system.py"))["sizes"]["num_layers"] == 3


def test_a_run_records_its_file_and_is_evaluated_with_it_alone(capsys, monkeypatch):
    assert cli.main(["train", "experiment.yaml", "--plugin", "task.py"]) == 0
    record = json.loads(Path("runs/language-of/plugins.json").read_text())
    assert list(record) == ["task.py"] and record["task.py"]["path"] == str(Path("task.py").absolute())
    assert cli.main(["evaluate", "runs/language-of", "--plugin", "task.py"]) == 0

    forget_all(monkeypatch)
    capsys.readouterr()
    asked = ["evaluate", "runs/language-of"], ["train", "--resume", "runs/language-of"], ["predict", "runs/language-of"]
    for arguments in asked:
        assert cli.main(arguments) == 2
        assert capsys.readouterr().err == (
            "mm-kptm: runs/language-of was trained with the plug-in task.py; add --plugin "
            f"{Path('task.py').absolute()}\n"
        )

    Path("task.py").write_text(TASK + "\nCHANGED = True\n")
    assert cli.main(["evaluate", "runs/language-of", "--plugin", "task.py"]) == 2
    told = capsys.readouterr().err
    assert "runs/language-of was trained with another version of the plug-in task.py, of hash" in told


def test_a_run_without_a_plug_in_records_none(tmp_path):
    plugin_files.record_plugins(tmp_path)
    assert not (tmp_path / "plugins.json").exists()
    plugin_files.check_plugins(tmp_path)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = (\n", "broken.py, line 1 is no Python: '(' was never closed"),
        (
            "\nimport nothing_such\n",
            "broken.py, line 2 fails when it is imported: ModuleNotFoundError: No module named",
        ),
        (None, "broken.py cannot be read: No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_loaded_is_named_with_its_line(source, message, capsys):
    if source is not None:
        Path("broken.py").write_text(source)
    assert cli.main(["list", "tasks", "--plugin", "broken.py"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("mm-kptm: the plug-in ") and message in told and told.count("\n") == 1
    Path("notes.txt").write_text("")
    with pytest.raises(UserError, match=r"notes\.txt is no Python file; its name must end in \.py$"):
        load_plugin("notes.txt")


def test_a_name_that_is_taken_is_refused(capsys):
    Path("system.py").write_text(SYSTEM.replace('name="bert-mine"', 'name="bert-base"'))
    assert cli.main(["list", "systems", "--plugin", "system.py"]) == 2
    assert "two recipes are called 'bert-base'; rename the one in mm_kptm_plugin_system_" in capsys.readouterr().err


def test_from_python_a_system_is_built_and_saved_and_loaded(tmp_path):
    load_plugin("system.py")
    model = mm_kptm.build("bert-mine", dim=8, num_heads=2, ffn_dim=8, vocab_size=9)
    mm_kptm.save(model, tmp_path / "model")
    assert mm_kptm.load(tmp_path / "model").recipe == "bert-mine"


def own_data() -> str:
    """The task of the page on a data set of its own, in one file."""
    data = """@dataclass(frozen=True)
class MyData(NumberWorldData):
    \'\'\'Sentences of mine.\'\'\'

    name: Literal["my-data"] = "my-data"


class LanguageOf"""
    imports = "from dataclasses import dataclass\nfrom functools import partial\nfrom typing import Literal\n"
    return (
        TASK.replace("from functools import partial\n", imports)
        .replace("class LanguageOf", data)
        .replace("TaskDataset(LanguageOf, NumberWorldData", "TaskDataset(LanguageOf, MyData")
    )


def test_a_data_set_of_a_file_comes_before_the_first_experiment(capsys):
    Path("data.py").write_text(own_data())
    with pytest.raises(UserError, match=r"data\.py brings LANGUAGE_OF, but the keys of experiment files are fixed"):
        load_plugin("data.py")


def in_a_new_process(*arguments):
    """The experiment on that data set, where no other test has fixed the keys."""
    Path("data.py").write_text(own_data())
    Path("mine.yaml").write_text(EXPERIMENT.replace("number-world", "my-data"))
    command = [sys.executable, "-m", "mm_kptm", *arguments, "--plugin", "data.py"]
    environment = {**os.environ, "PYTHONPATH": str(Path(mm_kptm.__file__).parents[1])}
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_a_data_set_of_a_file_stands_in_an_experiment():
    assert "name: my-data" in in_a_new_process("train", "mine.yaml", "--print-config")


@pytest.mark.slow
def test_workers_of_a_comparison_load_the_file_too(tmp_path):
    in_a_new_process("compare", "mine.yaml", "--seeds=1", "--no-nulls")
    assert list(tmp_path.glob("comparison/**/plugins.json"))
