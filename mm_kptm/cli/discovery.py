"""Discovery of verbs: a module of this package with ``add_verbs`` adds them; ``kg_link`` adds to the group ``kg``."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
from typing import Any

from mm_kptm import cli

FIRST = ("runs", "predict", "compare", "sweep", "kg_graphs")  #: modules whose verbs the help lists first


def add_verbs_of(group: str, verbs: argparse._SubParsersAction[Any]) -> None:
    """Add the verbs of all modules of a group, of those in no group where it is empty."""
    names = [found.name for found in pkgutil.iter_modules(cli.__path__)]
    names = [name for name in names if (name.partition("_")[0] if "_" in name else "") == group]
    for name in sorted(names, key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name)):
        module = importlib.import_module(f"{cli.__name__}.{name}")
        if hasattr(module, "add_verbs"):
            module.add_verbs(verbs)
