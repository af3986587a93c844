"""The tree around the package says the same thing everywhere."""

from __future__ import annotations

import re
import socket
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import mm_kptm
from mm_kptm.cli import parser

MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|root|Users|work|mnt)/\w")


@pytest.mark.parametrize("name", ["knowledge", "vision", "tasks"])
def test_the_root_links_lead_into_the_package(root, name):
    link = root / name
    assert link.is_symlink()
    assert link.readlink() == Path("mm_kptm") / name
    assert link.resolve().is_dir()


def test_no_tracked_file_names_a_machine(tracked):
    host = socket.gethostname()
    host = host if len(host) >= 8 and re.search(r"\d", host) else None  # "localhost" is no secret
    found = []
    for path in tracked:
        content = path.read_bytes()
        if b"\0" in content:
            continue
        for number, line in enumerate(content.decode("utf-8", errors="replace").splitlines(), start=1):
            if MACHINE_PATH.search(line) or (host and host in line):
                found.append(f"{path.name}, line {number}: {line.strip()[:80]}")
    assert found == []


def test_a_machine_path_would_be_found():
    home = "/".join(["", "home", "ada", "data"])
    assert MACHINE_PATH.search(f"open('{home}')")
    assert not MACHINE_PATH.search("docs/work/mine and https://example.org/home/page")


def test_the_constraints_pin_every_dependency_inside_its_range(root):
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    lines = [line for line in (root / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    pins = {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}
    assert len(pins) == len(lines)
    extras = project["optional-dependencies"].values()
    expected = [Requirement(text) for group in (project["dependencies"], *extras) for text in group]
    for requirement in expected:
        if requirement.name != project["name"]:
            assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), str(requirement)


def test_the_version_is_one(root):
    assert yaml.safe_load((root / "CITATION.cff").read_text())["version"] == mm_kptm.__version__
    newest = re.search(r"^## (\d\S*)", (root / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == mm_kptm.__version__


def test_every_command_in_the_documents_exists(root):
    verbs = set(next(action.choices for action in parser()._actions if action.dest == "verb"))
    targets = set(re.findall(r"^([a-z]+):", (root / "Makefile").read_text(), re.MULTILINE))
    pages = [path for path in sorted((root / "docs").rglob("*.md")) if "api" not in path.parts]
    for path in (*sorted(root.glob("*.md")), *pages):
        text = path.read_text()
        assert set(re.findall(r"(?:^|`)mm-kptm ([a-z]+)", text, re.MULTILINE)) <= verbs, path.name
        assert set(re.findall(r"(?:^|`)make ([a-z]+)", text, re.MULTILINE)) <= targets, path.name
        for link in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (path.parent / link).exists(), f"{path.name} links to {link}"
