"""What the page about knowledge shows of the tasks can be read, and its tables name what there is."""

import re
from pathlib import Path

import pytest

from mm_kptm import config
from mm_kptm.datasets.protocol import data_name, task_datasets
from mm_kptm.experiment.settings import Experiment
from mm_kptm.knowledge.injection.marker_tokens import MARKINGS
from mm_kptm.tasks.knowledge_use import COUNTERFACTUAL_SUFFIXES
from mm_kptm.tasks.protocol import catalogue

PAGE = (Path(__file__).parents[2] / "docs" / "knowledge.md").read_text(encoding="utf-8")
SECTION = PAGE.split("\n## Tasks\n")[1].split("\n## ")[0]


@pytest.mark.parametrize(("name", "task"), [("lama", "cloze"), ("blanks", "cloze"), ("typed", "entity-typing")])
def test_its_experiments_are_read(name, task, tmp_path):
    (block,) = re.findall(rf"```yaml\n# {name}.yaml\n(.+?)```", SECTION, re.DOTALL)
    (tmp_path / "experiment.yaml").write_text(block)
    settings = config.read(Experiment, tmp_path / "experiment.yaml")
    assert (settings.name, settings.task) == (name, task)


def test_its_table_names_tasks_and_the_formats_that_they_read():
    rows = re.findall(r"^\| `([\w-]+)` \| ((?:`[\w-]+`(?:, )?)+) \|", SECTION, re.MULTILINE)
    assert len(rows) >= 5
    for task, listed in rows:
        assert task in catalogue()
        feeds = {data_name(supply.data) for supply in task_datasets() if supply.task_name == task}
        assert set(re.findall(r"`([\w-]+)`", listed)) | {"number-world"} == feeds | {"number-world"}


def test_its_table_names_every_control():
    assert set(re.findall(r"^\| `(\w+)` \| [a-z]", SECTION, re.MULTILINE)) == set(COUNTERFACTUAL_SUFFIXES.values())


def test_its_table_names_every_way_to_mark():
    rows = re.findall(r"^\| `([\w-]+)`, .+ \| `", SECTION, re.MULTILINE)
    assert set(rows) == {"ernie", *MARKINGS}
    for name in MARKINGS:
        (row,) = re.findall(rf"^\| `{name}`, .+$", SECTION, re.MULTILINE)
        assert all(f"`{piece}`" in row for marks in MARKINGS[name].values() for piece in marks.pieces)
