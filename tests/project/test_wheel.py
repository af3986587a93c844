"""What is installed: one import name, with everything the package needs and nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import mm_kptm


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of this tree, built from a copy without network and without a build environment."""
    tree = tmp_path_factory.mktemp("sentence-tree")
    for name in ("mm_kptm", "tests/project", "experiments", "benchmarks"):
        if (root / name).is_dir():
            shutil.copytree(root / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, tree)
    for name in ("knowledge", "vision", "tasks"):
        (tree / name).symlink_to(f"mm_kptm/{name}")
    built = "from setuptools import build_meta; build_meta.build_wheel('dist')"
    done = subprocess.run([sys.executable, "-c", built], cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (path,) = (tree / "dist").glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def contents(wheel: zipfile.ZipFile) -> set[str]:
    return {name for name in wheel.namelist() if ".dist-info/" not in name}


def test_the_wheel_claims_one_import_name(contents):
    assert {name.split("/")[0] for name in contents} == {"mm_kptm"}


def test_the_wheel_holds_every_file_of_the_package(root, contents):
    files = (path for path in (root / "mm_kptm").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    assert contents == {path.relative_to(root).as_posix() for path in files}


def test_the_wheel_installs_the_command_under_its_version(wheel):
    info = f"mm_kptm-{mm_kptm.__version__}.dist-info"
    assert "mm-kptm = mm_kptm.cli:main" in wheel.read(f"{info}/entry_points.txt").decode()
    assert f"\nVersion: {mm_kptm.__version__}\n" in wheel.read(f"{info}/METADATA").decode()
    assert f"{info}/licenses/LICENSE" in wheel.namelist()
