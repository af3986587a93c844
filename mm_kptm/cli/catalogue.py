"""The verbs of the catalogue: list, show."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from mm_kptm.cli.output import LINE, add_json, print_json, print_pairs, print_rows
from mm_kptm.errors import UserError, nearest

if TYPE_CHECKING:
    from torch import nn


def add_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verbs to the parser."""
    listing = verbs.add_parser("list", help="the systems, tasks, data sets and objectives there are")
    listing.description = "One line for every system, task, data set or objective."
    listing.add_argument("kind", choices=("systems", "tasks", "datasets", "objectives"), help="what to list")
    listing.add_argument("--wide", action="store_true", help=f"do not cut what is longer than {LINE} columns")
    add_json(listing)
    listing.set_defaults(run=_list)

    show = verbs.add_parser("show", help="one of them in detail")
    show.description = "A system with its paper, sizes, heads and modules; or what a task, data set or objective is."
    show.add_argument("name", help="a name from one of the lists")
    show.add_argument("--depth", type=int, default=3, help="how deep into the modules to look (default: 3)")
    add_json(show)
    show.set_defaults(run=_show)


def _list(options: argparse.Namespace) -> int:
    rows = {"systems": _systems, "tasks": _tasks, "datasets": _datasets, "objectives": _objectives}[options.kind]()
    print_json(rows) if options.json else print_rows(rows, limit=None if options.wide else LINE)
    return 0


def _systems() -> list[dict[str, object]]:
    import mm_kptm

    return [
        {"name": recipe.name, "reads": sorted(recipe.reads), "heads": list(recipe.heads), "paper": recipe.paper}
        for recipe in mm_kptm.catalogue().values()
    ]


def _tasks() -> list[dict[str, object]]:
    from mm_kptm.tasks import catalogue

    return [{"name": name, "needs": sorted(task.needs), "what": _summary(task)} for name, task in catalogue().items()]


def _datasets() -> list[dict[str, object]]:
    """Datasets, which are the choices of an experiment's ``data:`` block."""
    from mm_kptm.config import choices
    from mm_kptm.experiment.settings import Experiment

    return [{"name": name, "what": _summary(shape)} for name, shape in choices(Experiment, "data").items()]


def _objectives() -> list[dict[str, object]]:
    from mm_kptm.objectives.spec import specs

    return [{"name": name, "needs": list(spec.needs), "paper": spec.paper} for name, spec in specs().items()]


def _show(options: argparse.Namespace) -> int:
    import mm_kptm

    recipes = mm_kptm.catalogue()
    systems = recipes.keys() | {recipe.family for recipe in recipes.values()}
    if options.name in systems:
        described = _system(options.name, options.depth)
    else:
        others = {str(row["name"]): row for row in _tasks() + _datasets() + _objectives()}
        if options.name not in others:
            known = nearest(options.name, systems | others.keys())
            raise UserError(f"nothing here is called {options.name!r}{known}")
        described = others[options.name]
    print_json(described) if options.json else print_pairs(described)
    return 0


def _system(name: str, depth: int) -> dict[str, object]:
    """Description of a recipe, with its modules built on the meta device."""
    import torch

    import mm_kptm
    from mm_kptm.systems.discovery import find

    recipe = find(name)
    with torch.device("meta"):
        system = mm_kptm.build(recipe.name)
    return {
        "name": recipe.name,
        "family": recipe.family,
        "paper": recipe.paper,
        "reads": sorted(recipe.reads),
        "parameters": _count(system),
        "sizes": recipe.published_sizes(),
        "heads": list(recipe.heads),
        "objectives": list(recipe.objectives),
        "notes": list(recipe.notes),
        "modules": _modules(system, depth),
    }


def _modules(module: nn.Module, depth: int) -> dict[str, object]:
    """Child modules with parameter counts; consecutive equal ones share an entry, such as 0-11."""
    tree: dict[str, object] = {}
    alike: list[tuple[str, nn.Module]] = []
    for name, child in [*module.named_children(), ("", None)]:
        if alike and (child is None or repr(child) != repr(alike[0][1])):
            first, last = alike[0], alike[-1]
            label = first[0] if len(alike) == 1 else f"{first[0]}-{last[0]}"
            inner = _modules(first[1], depth - 1) if depth > 1 else {}
            title = f"{label} ({type(first[1]).__name__}, {_count(first[1]):,})"
            tree[title] = inner or None
            alike = []
        if child is not None:
            alike.append((name, child))
    return tree


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _summary(thing: object) -> str:
    return (thing.__doc__ or "").strip().splitlines()[0]
