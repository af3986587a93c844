"""Heads of tasks: one of the system's heads, or a newly initialised one.

Shapes: P rows that are scored, D dim, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import nn

from mm_kptm.errors import UserError, notice
from mm_kptm.nn.init import bert_init
from mm_kptm.systems.labels import output_layer, reorder
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.system import System

Heads = dict[str, dict[str, int]]  #: names of heads and their sizes, as :func:`mm_kptm.build` takes them


def pooled_dim(system: System) -> int:
    """Width of the pooled vectors of a system, which two streams may fuse in a width of their own (ViLBERT)."""
    width: int = getattr(system.encoder, "pooled_dim", system.dim)
    return width


class ChosenHead(nn.Module):
    """The first head of ``names`` that a system has, or a newly initialised one.

    Args:
        system: the system; the chosen head stays its submodule.
        names: names of heads in order of preference.
        fresh: builds a head from rows [P, D] to logits [P, C].
    """

    def __init__(self, system: System, names: Sequence[str], fresh: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.name = next((name for name in names if name in system.heads), None)
        self.fresh = fresh() if self.name is None else None
        if self.fresh is not None:
            bert_init(self.fresh)

    def of(self, system: System) -> nn.Module:
        """The head."""
        return system.head(self.name) if self.name is not None else self.get_submodule("fresh")

    def take_labels(self, system: System, labels: Sequence[str]) -> None:
        """Name the classes of a head of the system as the data do.

        Where the head was trained on the same labels in another order, its classes are put in that of the data; where
        it was trained on others, its output layer starts anew and a notice says so.
        """
        if self.name is None:
            return
        known, last = system.labels.get(self.name), output_layer(self.of(system))
        if known is not None and last is not None and not reorder(system, self.name, labels):
            bert_init(last)
            notice(
                f"the head {self.name} was trained to tell {', '.join(known)}, and the data have {', '.join(labels)}: "
                "its last layer starts anew"
            )
        system.labels[self.name] = tuple(labels)

    def check_width(self, system: System, expected: int, *, what: str, size: str) -> None:
        """Reject a head with another number of classes than the data.

        Raises:
            UserError: the number of classes differs; the message names the size to build it with.
        """
        scored = [part.out_features for part in self.of(system).modules() if isinstance(part, nn.Linear)][-1]
        if scored != expected:
            raise UserError(
                f"the head {self.name} of {system.recipe} scores {scored} {what}, but there are {expected} to choose "
                f"from; build it with {size}={expected}"
            )


def requested_heads(recipe: Recipe, names: Sequence[str], sizes: Mapping[str, int] | None = None) -> Heads:
    """The ``heads`` argument of :func:`mm_kptm.build` for the first of ``names`` that the recipe has."""
    name = next((name for name in names if name in recipe.heads), None)
    return {} if name is None else {name: dict(sizes or {})}
