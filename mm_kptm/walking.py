"""Modules of a package and what they hold: one module adds one kind of something, and nothing is listed by hand."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import TypeVar

Found = TypeVar("Found")


def modules_in(package: str) -> Iterator[ModuleType]:
    """Import the modules of a package, by its dotted name, in alphabetical order; subpackages are not entered."""
    paths = importlib.import_module(package).__path__
    for name in sorted(found.name for found in pkgutil.iter_modules(paths)):
        yield importlib.import_module(f"{package}.{name}")


def instances_in(package: str, kind: type[Found]) -> Iterator[Found]:
    """Every instance of a class in the modules of a package, one that several modules import as often as they do."""
    for module in modules_in(package):
        yield from (value for value in vars(module).values() if isinstance(value, kind))
