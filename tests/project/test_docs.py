"""The pages that tell how to add something are followed to the letter, in a copy of the package."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mm_kptm import cli, config
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.datasets.schemas import CUSTOM, readers
from mm_kptm.experiment import comparison
from mm_kptm.experiment.settings import Experiment
from mm_kptm.tasks.protocol import catalogue
from tests.stores import write_regions

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str, kind: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return [body for language, body in BLOCK.findall(text) if language == kind]


def named(page: str, kind: str) -> dict[str, str]:
    """Blocks whose first line is a comment with a file's name."""
    return {body.split("\n", 1)[0].removeprefix("# "): body for body in blocks(page, kind)}


def run(command: str, where: Path, path: Path) -> str:
    """One command of a page, with the package that lies in ``path``."""
    words = [sys.executable, "-m", "mm_kptm", *command.split()[1:]]
    environment = {**os.environ, "PYTHONPATH": str(path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=where, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("house")
    shutil.copytree(ROOT / "mm_kptm", home / "mm_kptm", ignore=shutil.ignore_patterns("__pycache__"))
    return home


@pytest.mark.parametrize(("page", "expected"), [("add-a-task.md", '"accuracy"'), ("add-a-system.md", "runs/averaged")])
def test_one_new_file_is_all_it_takes(page: str, expected: str, copy: Path, tmp_path: Path) -> None:
    ((file, code),) = named(page, "python").items()
    assert not (ROOT / file).exists()
    (copy / file).write_text(code, encoding="utf-8")
    for name, settings in named(page, "yaml").items():
        (tmp_path / name).write_text(settings, encoding="utf-8")
    (commands,) = blocks(page, "sh")
    printed = [run(command, tmp_path, copy) for command in commands.strip().split("\n")]
    assert expected in printed[-1]
    if page == "add-a-task.md":
        assert json.loads(printed[-1])["accuracy"] > 0.5  # chance is 0.2
    else:
        assert "deep-averaging" in printed[0]


def test_a_package_of_ones_own_adds_as_much(tmp_path: Path) -> None:
    lines = []
    for page in ("add-a-task.md", "add-a-system.md"):
        ((file, code),) = named(page, "python").items()
        (tmp_path / "my_package").mkdir(exist_ok=True)
        (tmp_path / "my_package" / Path(file).name).write_text(code, encoding="utf-8")
        (told,) = blocks(page, "toml")
        lines += [told.replace("[project.entry-points.", "[").replace('"', "")]
    distribution = tmp_path / "my_package-1.0.dist-info"
    distribution.mkdir()
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: my_package\nVersion: 1.0\n")
    (distribution / "entry_points.txt").write_text("\n".join(lines))
    path = Path(f"{tmp_path}{os.pathsep}{ROOT}")
    assert "language-of" in run("mm-kptm list tasks --json", tmp_path, path)
    assert "deep-averaging" in run("mm-kptm list systems --json", tmp_path, path)


@pytest.mark.parametrize(
    "page", ["tutorials/vision.md", "tutorials/knowledge.md", "tutorials/crosslingual.md", "training.md"]
)
def test_every_command_of_a_tutorial_runs(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, settings in named(page, "yaml").items():
        shorter = re.sub(r"\bsteps: [1-9]\d*", "steps: 2", settings)
        Path(name).write_text(re.sub(r"\bquestions: \d+", "questions: 60", shorter), encoding="utf-8")
    for name, table in named(page, "tsv").items():
        Path(name).write_text(table.partition("\n")[2], encoding="utf-8")
    for command in "".join(blocks(page, "sh")).splitlines():
        words = [re.sub(r"^(--train.steps)=\d+$", r"\1=2", word) for word in command.split()]
        assert words[0] == "mm-kptm"
        assert cli.main(words[1:]) == 0, capsys.readouterr().err
        assert capsys.readouterr().out


OWN_TASKS = sorted(task for task in catalogue() if CUSTOM in readers(task))


@pytest.mark.parametrize("task", OWN_TASKS)
def test_every_schema_has_an_example_that_is_right(
    task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / "docs" / "own-data.md").read_text(encoding="utf-8")
    (section,) = (part for part in text.split("\n### ") if part.startswith(f"`{task}`"))
    (example,) = (body for language, body in BLOCK.findall(section) if language == "json")
    (tmp_path / "own.jsonl").write_text(example, encoding="utf-8")
    assert cli.main(["data", "validate", task, str(tmp_path / "own.jsonl"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["examples"] == len(example.strip().split("\n"))


def test_the_experiments_on_ones_own_data_are_read(tmp_path: Path) -> None:
    for name, settings in named("own-data.md", "yaml").items():
        (tmp_path / name).write_text(settings, encoding="utf-8")
        read = config.read(Experiment, tmp_path / name)
        assert read.data.train in (Path("train.jsonl"), Path("reviews.csv")) or read.task is None


def test_the_experiments_in_many_languages_are_read(tmp_path: Path) -> None:
    found = named("many-languages.md", "yaml")
    assert set(found) == {"xquad.yaml", "bucc.yaml", "translate.yaml", "mapped.yaml"}
    for name, settings in found.items():
        (tmp_path / name).write_text(settings, encoding="utf-8")
        read = config.read(Experiment, tmp_path / name)
        assert read.name == Path(name).stem and read.task in catalogue()


@pytest.mark.parametrize("name", ["translations.yaml", "captions.yaml"])
def test_pretraining_on_ones_own_data_is_ten_lines_away(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = named("own-data.md", "yaml")[name]
    assert len(settings.strip().split("\n")) <= 10
    Path(name).write_text(settings, encoding="utf-8")
    words: dict[str, None] = {}
    for file, body in named("own-data.md", "text").items():
        Path(file).parent.mkdir(exist_ok=True)
        text = body.split("\n", 1)[1]
        Path(file).write_text(text, encoding="utf-8")
        words |= dict.fromkeys(re.findall(r"\w+", text.lower()))
    Path("vocab.txt").write_text("\n".join([*BERT_SPECIALS, ".", *words]), encoding="utf-8")
    boxes = np.tile([0.0, 0.0, 1.0, 1.0], (3, 1))
    pictures = ((2, "beach.jpg"), (3, "desk.jpg"))
    write_regions("regions", [(image, np.full((n, 8), 0.1 * n), boxes[:n]) for n, image in pictures])
    assert cli.main(["train", name]) == 0
    rows = [json.loads(line) for line in (Path("runs") / Path(name).stem / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert losses and all(map(math.isfinite, losses))


def test_the_python_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        comparison, "outcomes", lambda work, jobs, *, workers: ((at, work(job)) for at, job in enumerate(jobs))
    )
    code = "\n".join(blocks("python.md", "python")).replace('"steps": 20', '"steps": 2').replace("seeds=2", "seeds=1")
    exec(compile(code, "python.md", "exec"), {})
    printed = capsys.readouterr().out
    shapes = ("torch.Size([7, 768]) torch.Size([2, 768])", "3 torch.Size([2, 4, 768])", "2 torch.Size([2, 12, 4, 4])")
    assert all(shape in printed for shape in shapes)
    assert "runs/vqa-tiny" in printed and "vqa-tiny" in printed and "compared/report.html" in printed
