"""Discovery of verbs: every module of a package that has ``add_verbs`` adds its own."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
from typing import Any

FIRST = ("runs", "predict", "compare", "sweep", "graphs")  #: modules whose verbs the help lists first


def add_verbs_of(package: str, verbs: argparse._SubParsersAction[Any]) -> None:
    """Add the verbs of all modules in a package, by its dotted name."""
    names = [found.name for found in pkgutil.iter_modules(importlib.import_module(package).__path__)]
    for name in sorted(names, key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name)):
        module = importlib.import_module(f"{package}.{name}")
        if hasattr(module, "add_verbs"):
            module.add_verbs(verbs)
