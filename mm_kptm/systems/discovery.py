"""Discovery: every recipe and addition, found by walking the packages and installed plug-ins."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from mm_kptm.errors import UserError

if TYPE_CHECKING:
    from torch import nn
from mm_kptm.systems.recipe import Addition, Recipe, _nearest

PACKAGES = (
    "mm_kptm.recipes",
    "mm_kptm.knowledge.recipes",
    "mm_kptm.vision.recipes",
    "mm_kptm.crosslingual.recipes",
)


Named = TypeVar("Named", "Recipe", "Addition")


@cache
def catalogue() -> dict[str, Recipe]:
    """Every recipe by name, in alphabetical order.

    Raises:
        UserError: two recipes share a name.
    """
    return _found(Recipe, "recipes")


@cache
def additions() -> dict[str, Addition]:
    """Every addition by name, in alphabetical order.

    Raises:
        UserError: two additions share a name.
    """
    return _found(Addition, "additions")


def heads_of(recipe: Recipe) -> dict[str, Callable[..., nn.Module]]:
    """Every head that a system of this recipe can have: those of additions, and its own, which win."""
    added = {name: head for addition in additions().values() for name, head in addition.heads.items()}
    return {**added, **recipe.heads}


def find(name: str) -> Recipe:
    """The recipe of that name, or the first one (in order of its sizes) of that family.

    Raises:
        UserError: there is none; near names are listed.
    """
    recipes = catalogue()
    if name in recipes:
        return recipes[name]
    kin = [recipe for recipe in recipes.values() if recipe.family == name]
    if kin:
        return min(kin, key=lambda recipe: (bool(recipe.sizes), recipe.name))
    known = {*recipes, *(recipe.family for recipe in recipes.values())}
    raise UserError(f"no system is called {name!r}{_nearest(name, known)}; `mm-kptm list systems` shows all of them")


def find_addition(name: str) -> Addition:
    """The addition of that name.

    Raises:
        UserError: there is none; near names are listed.
    """
    known = additions()
    if name not in known:
        raise UserError(
            f"no addition is called {name!r}{_nearest(name, known)}; there are {', '.join(known) or 'none'}"
        )
    return known[name]


def _found(kind: type[Named], what: str) -> dict[str, Named]:
    modules = [module for package in PACKAGES for module in _modules(package)]
    modules += [entry.load() for entry in entry_points(group="mm_kptm.recipes")]
    found: dict[str, Named] = {}
    for module in modules:
        for value in vars(module).values():
            if isinstance(value, kind) and found.setdefault(value.name, value) is not value:
                raise UserError(f"two {what} are called {value.name!r}; rename the one in {module.__name__}")
    return dict(sorted(found.items()))


def _modules(package: str) -> list[ModuleType]:
    home = importlib.import_module(package)
    return [importlib.import_module(f"{package}.{info.name}") for info in pkgutil.iter_modules(home.__path__)]
