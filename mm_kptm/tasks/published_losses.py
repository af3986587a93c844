"""The loss of a task that a system was published with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from mm_kptm.systems.discovery import catalogue
from mm_kptm.systems.system import System

L = TypeVar("L")


def published_loss(system: System, task: str, losses: Mapping[str, L], *, usual: str) -> L:
    """The loss that the recipe of a system names for a task, the ``usual`` one where it names none.

    Args:
        system: of any recipe, or of none.
        task: name of the task.
        losses: of the task, by the names that recipes have for them.
        usual: name of the loss of all other systems.
    """
    recipe = catalogue().get(system.recipe)
    return losses[usual if recipe is None else recipe.task_losses.get(task, usual)]
