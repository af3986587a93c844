"""Discovery of verbs: every module of a package that has ``add_verbs`` adds its own."""

from __future__ import annotations

import argparse
from typing import Any

from mm_kptm.walking import modules_in

FIRST = ("runs", "predict", "compare", "sweep", "graphs")  #: modules whose verbs the help lists first


def add_verbs_of(package: str, verbs: argparse._SubParsersAction[Any]) -> None:
    """Add the verbs of all modules in a package, by its dotted name."""
    found = {module.__name__.rpartition(".")[2]: module for module in modules_in(package)}
    for name in sorted(found, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST)):
        if hasattr(found[name], "add_verbs"):
            found[name].add_verbs(verbs)
