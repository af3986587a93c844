"""What is declared is imported, what is imported is declared, and `doctor` looks for all of it."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

from mm_kptm.cli.doctor import PACKAGES

#: Packages that a research suite of this kind brings along for its users, imported here or not.
BROUGHT = {"torch", "torchvision", "timm", "networkx", "pykeen", "open-clip-torch"}
#: What is imported under another name than it is installed by.
IMPORTED_AS = {
    "PyYAML": "yaml",
    "Pillow": "PIL",
    "Jinja2": "jinja2",
    "scikit-learn": "sklearn",
    "tensorboard": "torch.utils.tensorboard",
    "typing-extensions": "typing_extensions",
    "open-clip-torch": "open_clip",
    "huggingface-hub": "huggingface_hub",
    "faiss-cpu": "faiss",
    "resvg-py": "resvg_py",
}
#: Parts of a declared package that are installed under names of their own.
PART_OF = {"pydantic_core": "pydantic", "markupsafe": "jinja2"}


@pytest.fixture(scope="module")
def project(root: Path) -> dict[str, list[str]]:
    """The requirements of the package itself under an empty name, and of its extras."""
    read = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lists = {"": read["dependencies"], **read["optional-dependencies"]}
    return {extra: [re.split(r"[<>=\[; ]", line)[0] for line in lines] for extra, lines in lists.items()}


@pytest.fixture(scope="module")
def imported(root: Path) -> set[str]:
    """Every module that the package imports, and the packages that hold it."""
    found: set[str] = set()
    for path in (root / "mm_kptm").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module)
    return {".".join(name.split(".")[:depth]) for name in found for depth in range(1, name.count(".") + 2)}


def test_every_declared_package_is_imported(project, imported):
    assert [name for name in project[""] if name not in BROUGHT and IMPORTED_AS.get(name, name) not in imported] == []
    assert set(project[""]) >= BROUGHT


def test_every_imported_package_is_declared(project, imported):
    declared = {IMPORTED_AS.get(name, name).split(".")[0] for names in project.values() for name in names}
    outside = {name for name in imported if "." not in name} - set(sys.stdlib_module_names) - {"mm_kptm"}
    assert {PART_OF.get(name, name) for name in outside} - declared == set()


def test_doctor_looks_for_what_is_declared(project):
    assert sorted(PACKAGES) == sorted(project[""])
