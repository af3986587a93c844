"""The pages that are made when the site is built are complete, and the site builds without a warning."""

from __future__ import annotations

import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import mm_kptm
from mm_kptm.datasets.protocol import data_name, task_datasets
from mm_kptm.tasks.protocol import catalogue as tasks

NO_SYSTEMS = {  # golden cases of files, tools and rankings
    "bitext",
    "clbt",
    "cosda",
    "kge",
    "region_features",
    "region_formats",
    "sacrebleu",
    "tokenizer",
    "xtreme-metrics",
    "xtreme-retrieval",
}


@pytest.fixture(scope="module")
def generate(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", root / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_catalogue_has_every_system_and_every_golden_case(root: Path, generate: ModuleType) -> None:
    page = generate.catalogue(mm_kptm.catalogue())
    for name, recipe in mm_kptm.catalogue().items():
        assert page.count(f"\n| `{name}` |") == 1
        assert f"\n### {recipe.family}\n" in page
        assert recipe.paper in page
    cases = {f"{case.parent.name}/{case.name}" for case in (root / "tests/golden/data").glob("*/*") if case.is_dir()}
    missing = {case for case in cases if f"`{case}`" not in page}
    assert {case.partition("/")[0] for case in missing} <= NO_SYSTEMS


def test_the_readme_counts_the_families_that_goldens_hold(root: Path, generate: ModuleType) -> None:
    families = {recipe.family for recipe in mm_kptm.catalogue().values()}
    counted = re.search(r"Tests hold (\d+) of\s+the (\d+) families", (root / "README.md").read_text(encoding="utf-8"))
    assert counted is not None
    assert (int(counted[1]), int(counted[2])) == (len(families & set(generate.goldens())), len(families))


def test_the_choice_of_a_system_names_every_system_and_every_task(root: Path) -> None:
    by_task, by_family = (root / "docs/which-system.md").read_text(encoding="utf-8").split("## By family")
    listed = re.findall(r"`([^`]+)`", "".join(line.split("|")[2] for line in by_family.splitlines() if "|" in line))
    assert sorted(listed) == sorted(mm_kptm.catalogue())
    assert set(tasks()) <= set(re.findall(r"`([^`]+)`", by_task))
    starts = [line.split("|")[3] for line in by_task.splitlines() if line.startswith("|")]
    named = set(re.findall(r"`([^`]+)`", "".join(starts)))
    assert {name for name in named if not name.endswith(":")} <= set(mm_kptm.catalogue())


def test_systems_stand_under_the_wing_that_defines_them(generate: ModuleType) -> None:
    rooms = generate.rooms_of_systems()
    assert rooms["bert-base"] == "mm_kptm.recipes"  # which other rooms import
    assert rooms["uniter-base"] == "mm_kptm.vision.recipes"
    assert rooms["libert-base"] == "mm_kptm.knowledge.recipes"
    assert rooms["xlm-15"] == "mm_kptm.crosslingual.recipes"


def test_the_page_of_a_room_lists_its_public_names(generate: ModuleType) -> None:
    for name in generate.rooms():
        page, packages = generate.page(name), set(generate.rooms())
        for public in importlib.import_module(name).__all__:
            shown = f":doc:`{name}.{public} <" if f"{name}.{public}" in packages else f":: {name}.{public}\n"
            assert public.startswith("__") or shown in page, f"{name} does not show {public}"


@pytest.mark.slow
def test_the_site_builds_without_a_warning(root: Path, tmp_path: Path) -> None:
    built = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "docs", str(tmp_path / "site")]
    done = subprocess.run(built, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "api" / "mm_kptm.nn.html").is_file()


def test_the_table_of_tasks_has_every_data_set_about_images(generate: ModuleType) -> None:
    table = generate.vision_tasks()
    rows = {tuple(cell.strip(" `") for cell in line.split("|")[1:3]) for line in table.splitlines()[2:]}
    assert rows == {
        (supply.task_name, data_name(supply.data))
        for supply in task_datasets()
        if supply.task is not None and "regions" in supply.task.needs
    }
    (nlvr2,) = (line for line in table.splitlines() if line.startswith("| `nlvr2` | `nlvr2`"))
    assert "`train`, `images` or `features`, *`dev`*" in nlvr2 and "Consistency" in nlvr2
