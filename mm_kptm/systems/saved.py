"""Folders that this suite saves: weights, configuration and what was added."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor

from mm_kptm.errors import UserError
from mm_kptm.io.atomic import write_json
from mm_kptm.io.tensors import write_tensors
from mm_kptm.systems.assembly import (
    CONFIG,
    TASK_PREFIX,
    WEIGHTS,
    Heads,
    add,
    assemble,
    chosen_heads,
    fill,
    fitted,
    parameters,
    seeded_weights,
)
from mm_kptm.systems.checkpoint_files import read_weights
from mm_kptm.systems.discovery import find
from mm_kptm.systems.keymap import TranslatedState
from mm_kptm.systems.system import System


@dataclass(frozen=True)
class Saved:
    """What the ``config.json`` of a saved folder says."""

    recipe: str
    sizes: Mapping[str, Any]
    heads: Mapping[str, Mapping[str, Any]]
    added: Mapping[str, Mapping[str, Any]]  #: parts around the encoder, the innermost first
    data: Mapping[str, str]  #: what it was trained on, hashes by name
    task: str | None  #: whose own parts lie beside the system


def save(
    system: System, folder: str | Path, *, task: str | None = None, own: Mapping[str, Tensor] | None = None
) -> None:
    """Write ``model.safetensors`` and ``config.json`` (recipe, sizes, heads, added parts, data, version).

    Args:
        system: all of it is written.
        folder: is made where it is not there.
        task: that the system was trained on, where the task has parts of its own.
        own: the parameters of these, such as a head that no recipe has; :func:`load` leaves them behind.

    Raises:
        UserError: the folder cannot be written.
    """
    folder = Path(folder)
    described = {
        "mm_kptm": version("mm-kptm"),
        "recipe": system.recipe,
        "sizes": system.sizes,
        "heads": system.head_sizes,
        "added": system.added,
        "data": system.data,
        "task": task,
    }
    written = parameters(system) | {TASK_PREFIX + name: tensor for name, tensor in (own or {}).items()}
    write_tensors(folder / WEIGHTS, {name: tensor.contiguous() for name, tensor in written.items()})
    write_json(folder / CONFIG, described, indent=1, ascii_only=True)


def read_saved(folder: str | Path) -> Saved | None:
    """What a folder holds, or None where :func:`save` did not write it.

    Raises:
        UserError: its ``config.json`` is broken.
    """
    path = Path(folder) / CONFIG
    if not is_saved(path.parent):
        return None
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        sizes, heads, added, data = said["sizes"], said["heads"], said.get("added", {}), said.get("data", {})
        if not all(isinstance(part, dict) for part in (sizes, heads, added, data)):
            raise ValueError
        return Saved(said["recipe"], sizes, heads, added, data, said.get("task"))
    except (ValueError, LookupError, TypeError):
        raise UserError(f"{path} does not say which system lies beside it; save the system again") from None


def saved_task_parameters(folder: str | Path, task: str) -> dict[str, Tensor]:
    """The parameters that a task has beside the system of a folder; none where the folder was not saved with it.

    Raises:
        UserError: its ``config.json`` is broken.
    """
    held = read_saved(folder)
    if held is None or held.task != task:
        return {}
    tensors = read_weights(Path(folder) / WEIGHTS)
    return {name.removeprefix(TASK_PREFIX): tensor for name, tensor in tensors.items() if name.startswith(TASK_PREFIX)}


def load_saved(
    folder: Path,
    *,
    name: str | None = None,
    heads: Heads | None = None,
    fresh: Sequence[str] = (),
    seed: int | None = None,
) -> System:
    """A system from a folder that :func:`save` wrote, with the heads it was saved with or others.

    Raises:
        UserError: the folder is not of that kind, holds another recipe than ``name``, or lacks parts that it names.
    """
    held = read_saved(folder)
    if held is None:
        raise UserError(f"{folder} is no folder with {CONFIG} and {WEIGHTS} that this suite saved")
    recipe = find(held.recipe)
    if name is not None and name not in (recipe.name, recipe.family):
        raise UserError(f"{folder} holds {recipe.name}, but {name} was asked for")
    chosen = chosen_heads(recipe, held.heads if heads is None else heads)
    sized = {head: {**held.heads.get(head, {}), **chosen[head]} for head in chosen}
    with seeded_weights(seed):
        system = assemble(recipe, recipe.resolved_sizes(held.sizes), sized)
        published = set(system.parameters())
        for addition, sizes in held.added.items():
            add(system, addition, sizes)
    tensors, unfilled = read_weights(folder / WEIGHTS), tuple(fresh)
    for parameter, value in system.named_parameters():
        if value not in published and parameter not in tensors and not parameter.startswith(unfilled):
            raise UserError(
                f"{folder} says that it holds {recipe.name} with {' and '.join(held.added)}, but its {WEIGHTS} has no "
                f"{parameter}; save the system again"
            )
    fill(system, fitted(TranslatedState(tensors=tensors), system, recipe, fresh))
    system.data = dict(held.data)
    return system


def is_saved(folder: Path) -> bool:
    config = folder / CONFIG
    return config.is_file() and (folder / WEIGHTS).is_file() and '"mm_kptm"' in config.read_text(encoding="utf-8")
