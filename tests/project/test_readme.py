"""What the README shows is true."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from mm_kptm import config
from mm_kptm.experiment.settings import Experiment


def block(root: Path, language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", (root / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    return textwrap.dedent(found)


def test_its_python_runs(root, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(block(root, "python"), "README.md", "exec"), {})
    listed, shape = capsys.readouterr().out.splitlines()
    assert "bert-base" in listed
    assert shape == "torch.Size([2, 768])"


def test_its_experiment_is_one(root, tmp_path):
    path = tmp_path / "vqa-small.yaml"
    path.write_text(block(root, "yaml"))
    settings = config.read(Experiment, path, ["--train.steps=1000"])
    assert (settings.task, settings.train.steps, settings.folder) == ("vqa", 1000, Path("runs/vqa-small"))


def test_experiment_files_in_the_tree_are_valid(root):
    for path in sorted((root / "experiments").rglob("*.yaml")):
        assert config.read(Experiment, path).name
