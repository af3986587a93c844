"""Pages of the site that are made when it is built: the catalogue of systems, and the reference of every room."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import get_args, get_type_hints

import mm_kptm
from mm_kptm.datasets.protocol import data_name, task_datasets
from mm_kptm.systems.discovery import modules
from mm_kptm.systems.recipe import Recipe
from mm_kptm.tasks.protocol import Task

ROOT = Path(__file__).parents[1]
GOLDENS = ROOT / "tests" / "golden"
WINGS = {
    "mm_kptm.recipes": "Text encoders",
    "mm_kptm.vision.recipes": "Vision and language",
    "mm_kptm.vision.recipes.contrastive": "Contrastive vision and language",
    "mm_kptm.knowledge.recipes": "Knowledge",
    "mm_kptm.crosslingual.recipes": "Cross-lingual",
}


def goldens() -> dict[str, list[str]]:
    """Golden cases by the family that they hold; a comparison names the recipes or families that it builds."""
    held: dict[str, list[str]] = defaultdict(list)
    families = {recipe.name: recipe.family for recipe in mm_kptm.catalogue().values()}
    for folder in sorted(path for path in (GOLDENS / "data").iterdir() if path.is_dir()):
        comparison = GOLDENS / "systems" / f"{folder.name.replace('-', '_')}.py"
        code = comparison.read_text(encoding="utf-8") if comparison.is_file() else ""
        quoted = set(re.findall(r"\"([\w.-]+)\"", code)) | {folder.name, folder.name.replace("_", "-")}
        named = {families[name] for name in quoted & families.keys()} | (quoted & set(families.values()))
        for family in named:
            held[family] += [f"{folder.name}/{case.name}" for case in sorted(folder.iterdir()) if case.is_dir()]
    return dict(held)


@cache
def rooms_of_systems() -> dict[str, str]:
    """The room of recipes by the name of each system: that of the module which defines it."""
    found = {}
    for module in modules("recipes"):
        imported = homes(module)
        for name, value in vars(module).items():
            if isinstance(value, Recipe) and name not in imported:
                found[value.name] = module.__name__.rpartition(".")[0]
    return found


def catalogue(recipes: Mapping[str, Recipe]) -> str:
    """The catalogue as MyST: a section for each wing, a part for each family, a row for each published size."""
    held = goldens()
    families: dict[str, dict[str, list[Recipe]]] = {room: {} for room in WINGS}
    for recipe in recipes.values():
        families.setdefault(rooms_of_systems()[recipe.name], {}).setdefault(recipe.family, []).append(recipe)
    lines: list[str] = []
    for room, of_room in families.items():
        lines += [f"## {WINGS.get(room, room)}", ""]
        for family, sizes in of_room.items():
            lines += [*_family(family, sizes, held.get(family, [])), ""]
    return "\n".join(lines)


def _family(family: str, recipes: Sequence[Recipe], held: Sequence[str]) -> Iterator[str]:
    yield f"### {family}"
    yield ""
    for paper in dict.fromkeys(recipe.paper for recipe in recipes):
        yield f"{paper}"
        yield ""
    for title, values in (
        ("Reads", sorted(recipes[0].reads)),
        ("Objectives", recipes[0].objectives),
        ("Heads", list(recipes[0].heads)),
    ):
        yield f"- {title}: {', '.join(f'`{value}`' for value in values) or 'none'}"
    cases = ", ".join(f"`{case}`" for case in held)
    yield f"- Golden cases: {cases or 'none; known from the paper and the released code'}"
    yield ""
    yield "| name | sizes |"
    yield "|---|---|"
    for recipe in recipes:
        sizes = {
            name: value for name, value in recipe.published_sizes().items() if isinstance(value, int | float | str)
        }
        yield f"| `{recipe.name}` | {', '.join(f'{name} {value}' for name, value in sizes.items())} |"


def rooms() -> list[str]:
    """The name of every package of the house, the house itself first."""
    return ["mm_kptm", *(found.name for found in pkgutil.walk_packages(mm_kptm.__path__, "mm_kptm.") if found.ispkg)]


def public(room: ModuleType) -> list[str]:
    """The public names of a room; where it lists none, those that it defines."""
    if hasattr(room, "__all__"):
        return list(room.__all__)
    defined = [name for name, value in vars(room).items() if getattr(value, "__module__", None) == room.__name__]
    return sorted(name for name in defined if not name.startswith("_"))


def homes(room: ModuleType) -> dict[str, str]:
    """The module that defines each public name, from the imports of the room's own file."""
    tree = ast.parse(Path(str(room.__file__)).read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


def page(name: str) -> str:
    """The reference of a room in reStructuredText, as docstrings are."""
    room = importlib.import_module(name)
    names, where = public(room), homes(room)
    packages = {found.name for found in pkgutil.iter_modules(room.__path__) if found.ispkg}
    lines = [name, "=" * len(name), "", f".. automodule:: {name}", ""]
    for inner in sorted(packages):
        lines.append(
            f"- :doc:`{name}.{inner} <{name}.{inner}>`: {_first_line(importlib.import_module(f'{name}.{inner}'))}"
        )
    own = [one for one in names if one not in packages and not one.startswith("__")]
    lines += ["", *_recipes(name)]
    for one in own:
        lines += ["", *_documented(name, one, getattr(room, one), where.get(one, name))]
    return "\n".join(lines) + "\n"


def _first_line(thing: object) -> str:
    return (inspect.getdoc(thing) or "").split("\n", 1)[0]


def _recipes(room: str) -> list[str]:
    """The systems of a room of recipes, which its modules hold and discovery finds."""
    if room not in WINGS:
        return []
    own = [name for name in mm_kptm.catalogue() if rooms_of_systems()[name] == room]
    return ["", "Systems, described in the :doc:`catalogue </catalogue>`:", "", *(f"- ``{name}``" for name in own)]


def _documented(room: str, name: str, value: object, where: str) -> list[str]:
    if inspect.isclass(value):
        return [f".. autoclass:: {room}.{name}", "   :members:", ""]
    if inspect.isfunction(value):
        return [f".. autofunction:: {room}.{name}", ""]
    return [f".. py:data:: {room}.{name}", "", *(f"   {line}" for line in _comment(where, name)), ""]


def _comment(module: str, name: str) -> list[str]:
    """What the ``#:`` comment of a constant says."""
    from sphinx.pycode import ModuleAnalyzer

    return ModuleAnalyzer.for_module(module).find_attr_docs().get(("", name), [""])


@cache
def aliases() -> dict[str, str]:
    """The documented name of everything by the full name under which docstrings refer to it."""
    found = {}
    for name in rooms():
        room = importlib.import_module(name)
        for one, where in homes(room).items():
            if one in public(room):
                found[f"{where}.{one}"] = f"{name}.{one}"
    return found


def write(folder: Path) -> list[Path]:
    """Write a page for every room into a folder, and nothing where it is the same as before."""
    folder.mkdir(exist_ok=True)
    pages = {folder / f"{name}.rst": page(name) for name in rooms()}
    for path in folder.glob("*.rst"):
        if path not in pages:
            path.unlink()
    for path, text in pages.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    return sorted(pages)


def vision_tasks() -> str:
    """The tasks about images as MyST: a row for each data set that feeds one, with its files and its metrics."""
    lines = ["| task | `data.name` | files that it wants, and *may have* | measured by |", "|---|---|---|---|"]
    for supply in sorted(task_datasets(), key=lambda one: (one.task_name, data_name(one.data))):
        if supply.task is None or "regions" not in supply.task.needs:
            continue
        kinds = get_type_hints(supply.data)
        files = [one for one in fields(supply.data) if Path in (kinds[one.name], *get_args(kinds[one.name]))]
        names = {one.name: one.default is MISSING for one in files if one.name != "scores"}
        shown = ["`images` or `features`"] if {"images", "features"} <= names.keys() else []
        wanted = [f"`{name}`" for name, required in names.items() if required] + shown
        perhaps = [
            f"*`{name}`*" for name, required in names.items() if not required and name not in ("images", "features")
        ]
        metrics = supply.task.summary if supply.task.summary is not Task.summary else supply.task.measure
        measured = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", _first_line(metrics)).replace("``", "`").rstrip(".")
        held = ", ".join((*wanted, *perhaps)) or "none; it is generated"
        lines.append(f"| `{supply.task_name}` | `{data_name(supply.data)}` | {held} | {measured} |")
    return "\n".join(lines)
