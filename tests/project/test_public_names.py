"""Every room names its public surface."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import mm_kptm
from mm_kptm.lazy import lazy

ROOMS = ["mm_kptm"] + [
    found.name
    for found in pkgutil.walk_packages(mm_kptm.__path__, "mm_kptm.")
    if found.ispkg and "._" not in found.name
]


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_names_what_a_user_needs(name: str) -> None:
    room = importlib.import_module(name)
    names = room.__all__
    assert len(set(names)) == len(names)
    parts = {found.name for found in pkgutil.iter_modules(room.__path__) if not found.ispkg}
    assert not parts & set(names), "a module of the room would hide the name"
    for public in names:
        value = getattr(room, public)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__module__.startswith("mm_kptm."), f"{name}.{public} is not of this package"
            assert inspect.getdoc(value), f"{name}.{public} has no docstring"


def test_rooms_of_recipes_name_none_by_hand() -> None:
    recipes = [room for room in ROOMS if room.rpartition(".")[2] == "recipes"]
    assert len(recipes) == 4
    assert [importlib.import_module(name).__all__ for name in recipes] == [[]] * 4


def test_a_name_that_a_room_lacks_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"^module 'mm_kptm.io' has no attribute 'Recrod'$"):
        lazy("mm_kptm.io", {"records": ["Record"]})("Recrod")


def test_opening_the_rooms_imports_nothing_heavy() -> None:
    light = (
        "adaptation",
        "crosslingual",
        "data",
        "datasets",
        "io",
        "knowledge",
        "models",
        "nn",
        "suites",
        "systems",
        "vision",
    )
    code = f"import sys, importlib\nfor name in {light}: importlib.import_module(f'mm_kptm.{{name}}')\n"
    code += "print(*sorted({'torch', 'numpy', 'pykeen'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("\n", "")
