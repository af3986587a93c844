"""Saved folders: weights, configuration and additions of a system."""

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
    """Contents of the ``config.json`` of a saved folder."""

    recipe: str
    sizes: Mapping[str, Any]
    heads: Mapping[str, Mapping[str, Any]]
    added: Mapping[str, Mapping[str, Any]]  #: additions to the encoder, innermost first
    data: Mapping[str, str]  #: fingerprints of the training data, by name
    task: str | None  #: task whose own parameters are saved with the system


def save(
    system: System, folder: str | Path, *, task: str | None = None, own: Mapping[str, Tensor] | None = None
) -> None:
    """Write ``model.safetensors`` and ``config.json`` (recipe, sizes, heads, added parts, data, version).

    Args:
        system: the system to save.
        folder: created if missing.
        task: the task that the system was trained on, if the task has own parameters.
        own: the task's own parameters, such as a head that no recipe has; :func:`load` ignores them.

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
    """The configuration of a saved folder; None if :func:`save` did not write it.

    Raises:
        UserError: its ``config.json`` is invalid.
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
    """A task's own parameters in a saved folder; none if the folder was not saved with it.

    Raises:
        UserError: its ``config.json`` is invalid.
    """
    saved = read_saved(folder)
    if saved is None or saved.task != task:
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
    """Load a system from a folder written by :func:`save`, with its saved heads or others.

    Raises:
        UserError: the folder was not saved by :func:`save`, has another recipe than ``name``, or lacks parameters.
    """
    saved = read_saved(folder)
    if saved is None:
        raise UserError(f"{folder} is no folder with {CONFIG} and {WEIGHTS} that this suite saved")
    recipe = find(saved.recipe)
    if name is not None and name not in (recipe.name, recipe.family):
        raise UserError(f"{folder} holds {recipe.name}, but {name} was asked for")
    chosen = chosen_heads(recipe, saved.heads if heads is None else heads)
    sized = {head: {**saved.heads.get(head, {}), **chosen[head]} for head in chosen}
    with seeded_weights(seed):
        system = assemble(recipe, recipe.resolved_sizes(saved.sizes), sized)
        published = set(system.parameters())
        for addition, sizes in saved.added.items():
            add(system, addition, sizes)
    tensors, unfilled = read_weights(folder / WEIGHTS), tuple(fresh)
    for parameter, value in system.named_parameters():
        if value not in published and parameter not in tensors and not parameter.startswith(unfilled):
            raise UserError(
                f"{folder} says that it holds {recipe.name} with {' and '.join(saved.added)}, but its {WEIGHTS} has no "
                f"{parameter}; save the system again"
            )
    fill(system, fitted(TranslatedState(tensors=tensors), system, recipe, fresh))
    system.data = dict(saved.data)
    return system


def is_saved(folder: Path) -> bool:
    config = folder / CONFIG
    return config.is_file() and (folder / WEIGHTS).is_file() and '"mm_kptm"' in config.read_text(encoding="utf-8")
