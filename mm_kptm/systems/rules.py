"""Rules that map published parameter names to those of this package."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Rename:
    """Rename one published parameter.

    ``{i}`` matches a number, any other field a name without dots; ``[text]`` is optional.
    """

    theirs: str
    ours: str


@dataclass(frozen=True)
class Split:
    """Split a published tensor along its first axis into several parameters, in this order."""

    theirs: str
    ours: tuple[str, ...]


@dataclass(frozen=True)
class Take:
    """Take one row of a published table as a table of one row; the others are dropped for a stated reason."""

    theirs: str
    ours: str
    row: int
    because: str


@dataclass(frozen=True)
class Transpose:
    """Transpose a published matrix: Paddle stores the weights of linear layers as [in, out]."""

    theirs: str
    ours: str


@dataclass(frozen=True)
class Same:
    """Check that a tied published parameter equals another one, and drop it."""

    theirs: str
    as_: str


@dataclass(frozen=True)
class Drop:
    """Drop a published parameter for a stated reason."""

    theirs: str
    because: str


@dataclass(frozen=True)
class OneOf:
    """Map a published name to one of several parameters, depending on which head is built.

    When a file is loaded without a choice of heads, the first one is used.
    """

    theirs: str
    ours: tuple[str, ...]


@dataclass(frozen=True)
class Copies:
    """Copy a published tensor to several parameters, such as both sides of a translation model."""

    theirs: str
    ours: tuple[str, ...]


Placing = Rename | Split | Take | Transpose | OneOf | Copies
Rule = Placing | Same | Drop


def drop_prefix(prefix: str, because: str, *, depth: int = 7) -> tuple[Drop, ...]:
    """Rules that drop every published key below ``prefix``, at most ``depth`` components deep."""
    endings = [""]
    for number in range(depth):
        endings.append(f"{endings[-1]}.{{{chr(ord('a') + number)}}}")
    return tuple(Drop(prefix + ending, because) for ending in endings[1:])


#: From the tensors of a checkpoint to those that a head of fine-tuning starts from.
HeadStart = Callable[[Mapping[str, "Tensor"]], Mapping[str, "Tensor"]]


def head_rows(head: str, prefix: str = "", rows: slice = slice(None)) -> HeadStart:
    """Start a head from another one: from its parameters below ``prefix``, and of each from the given rows."""
    beginning = f"heads.{head}."

    def start(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        names = [name for name in tensors if name.startswith(beginning + prefix)]
        return {name.removeprefix(beginning): tensors[name][rows] for name in names}

    return start
