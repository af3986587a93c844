"""Discovery of recipes, additions, objectives, knowledge kinds, tasks and datasets by walking packages.

A module is searched for recipes if it is in any package called ``recipes``, for tasks if it is in one called ``tasks``,
and so on; if an installed plug-in names it in the entry point group ``mm_kptm.recipes``, ``mm_kptm.tasks`` ...; and if
it is a plug-in file (:func:`load_plugin`). Nothing is listed by hand, and the order of imports does not matter.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from mm_kptm.errors import UserError, nearest
from mm_kptm.systems import plugin_files
from mm_kptm.systems.recipe import Addition, Frontend, Recipe

if TYPE_CHECKING:
    from functools import _lru_cache_wrapper

    from torch import nn

HOUSE = "mm_kptm"
Found = TypeVar("Found")
Result = TypeVar("Result")

_forget: list[Callable[[], None]] = []  #: empties the cache of every :func:`discovered` function


def discovered(find_all: Callable[[], Result]) -> _lru_cache_wrapper[Result]:
    """Decorator of a function that looks for something everywhere: cached until another plug-in file is loaded."""
    cached = cache(find_all)
    _forget.append(cached.cache_clear)
    return cached


def load_plugin(path: str | Path) -> ModuleType:
    """Load a plug-in file: what it holds is found from then on as if it lay in the package.

    Data sets and knowledge kinds become keys of experiment files, which are fixed when the first one is read; load
    such a file before.

    Raises:
        UserError: the file is missing or fails, or brings a data set or a knowledge kind too late.
    """
    known = plugin_files.plugin_modules()
    module = plugin_files.load_file(Path(path)).module
    for forget in _forget:
        forget()
    if module not in known and f"{HOUSE}.experiment.settings" in sys.modules:
        for name, value in vars(module).items():
            if _adds_keys(value, module):
                raise UserError(
                    f"the plug-in {path} brings {name}, but the keys of experiment files are fixed already; load it "
                    "before the first experiment is read"
                )
    return module


def _adds_keys(value: object, module: ModuleType) -> bool:
    """Whether a value of a module is a knowledge kind of it, or a task on a data set of it."""
    data = getattr(value, "data", None)
    return type(value).__name__ == "KnowledgeKind" or getattr(data, "__module__", "") == module.__name__


@discovered
def catalogue() -> dict[str, Recipe]:
    """Every recipe by name, in alphabetical order.

    Raises:
        UserError: two recipes share a name.
    """
    return by_name(instances(Recipe, "recipes"), "recipes")


@discovered
def additions() -> dict[str, Addition]:
    """Every addition by name, in alphabetical order, from packages ``recipes``, ``kinds`` and ``objectives``.

    Raises:
        UserError: two additions share a name.
    """
    rooms = ("recipes", "kinds", "objectives")
    return by_name([found for room in rooms for found in instances(Addition, room)], "additions")


def heads_of(recipe: Recipe) -> dict[str, Callable[..., nn.Module]]:
    """Builders of every head that a system of this recipe can have; its own override those of additions."""
    added = {name: head for addition in additions().values() for name, head in addition.heads.items()}
    return {**added, **recipe.heads}


def find(name: str) -> Recipe:
    """The recipe of that name, or the first one (in order of its sizes) of that family.

    Raises:
        UserError: there is none; similar names are listed.
    """
    recipes = catalogue()
    if name in recipes:
        return recipes[name]
    kin = [recipe for recipe in recipes.values() if recipe.family == name]
    if kin:
        return min(kin, key=lambda recipe: (bool(recipe.sizes), recipe.name))
    known = {*recipes, *(recipe.family for recipe in recipes.values())}
    raise UserError(
        f"no system is called {name!r}" + nearest(name, known, otherwise="`mm-kptm list systems` shows all of them")
    )


def find_addition(name: str) -> Addition:
    """The addition of that name.

    Raises:
        UserError: there is none; similar names are listed.
    """
    known = additions()
    if name not in known:
        raise UserError(f"no addition is called {name!r}{nearest(name, known)}")
    return known[name]


@discovered
def frontends() -> dict[str, Frontend]:
    """Every frontend by name, in alphabetical order, from packages ``recipes``.

    Raises:
        UserError: two frontends share a name.
    """
    return by_name(instances(Frontend, "recipes"), "frontends")


def find_frontend(name: str) -> Frontend:
    """The frontend of that name.

    Raises:
        UserError: there is none; similar names are listed.
    """
    known = frontends()
    if name not in known:
        raise UserError(f"no frontend is called {name!r}{nearest(name, known)}")
    return known[name]


def modules(room: str) -> tuple[ModuleType, ...]:
    """Modules of every package of that name in mm_kptm, then of plug-ins: installed (``mm_kptm.<room>``) and files."""
    ours = [importlib.import_module(name) for name in house() if room in name.split(".")[1:-1]]
    loaded = [entry.load() for entry in entry_points(group=f"{HOUSE}.{room}")]
    inside = [importlib.import_module(name) for plug_in in loaded for name in _inside(plug_in)]
    return (*ours, *loaded, *inside, *plugin_files.plugin_modules())


def instances(kind: type[Found], room: str) -> Iterator[tuple[str, Found]]:
    """Every instance of a class with the name of its module, in a fixed order."""
    for module in modules(room):
        yield from ((module.__name__, value) for value in vars(module).values() if isinstance(value, kind))


def by_name(found: Iterable[tuple[str, Found]], plural: str) -> dict[str, Found]:
    """Found values by their ``name``, in alphabetical order.

    Args:
        found: values with the names of their modules.
        plural: noun for the error message.

    Raises:
        UserError: two of them share a name.
    """
    named: dict[str, Found] = {}
    for module, value in found:
        name = str(value.name)  # type: ignore[attr-defined]  # recipes, objectives and task classes all have one
        if named.setdefault(name, value) is not value:
            raise UserError(f"two {plural} are called {name!r}; rename the one in {module}")
    return dict(sorted(named.items()))


@cache
def house() -> tuple[str, ...]:
    """The name of every module of mm_kptm, in alphabetical order, without importing them."""
    return tuple(sorted(_inside(importlib.import_module(HOUSE))))


def _inside(package: ModuleType) -> Iterator[str]:
    """The names of all modules of a package, subpackages included; none for a plain module."""
    paths = [(package.__name__, path) for path in getattr(package, "__path__", [])]
    while paths:
        name, path = paths.pop()
        for info in pkgutil.iter_modules([path]):
            yield f"{name}.{info.name}"
            if info.ispkg:
                paths.append((f"{name}.{info.name}", f"{path}/{info.name}"))
