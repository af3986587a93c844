"""Rules from published parameter names to ours."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rename:
    """One published name and ours.

    ``{i}`` stands for a number, any other field for a part without dots; ``[text]`` is a part that may be absent.
    """

    theirs: str
    ours: str


@dataclass(frozen=True)
class Split:
    """A published tensor that packs several of ours along its first axis, in this order."""

    theirs: str
    ours: tuple[str, ...]


@dataclass(frozen=True)
class Take:
    """One row of a published table, kept as a table of one row; the others stay behind for a stated reason."""

    theirs: str
    ours: str
    row: int
    because: str


@dataclass(frozen=True)
class Transpose:
    """A published matrix that lies the other way round: Paddle stores those of linear layers as [in, out]."""

    theirs: str
    ours: str


@dataclass(frozen=True)
class Same:
    """A published key that repeats another one, because the two were tied; refused when they differ."""

    theirs: str
    as_: str


@dataclass(frozen=True)
class Drop:
    """A published key that we leave behind, and why."""

    theirs: str
    because: str


@dataclass(frozen=True)
class OneOf:
    """A published name that different tasks gave to different parts of ours; the part that is built takes the tensor.

    When a file is loaded without saying which heads to build, the first one does.
    """

    theirs: str
    ours: tuple[str, ...]


@dataclass(frozen=True)
class Copies:
    """A published tensor that several parts of ours start from, such as both sides of a translation model."""

    theirs: str
    ours: tuple[str, ...]


Rule = Rename | Split | Take | Transpose | OneOf | Copies | Same | Drop


def drop_prefix(prefix: str, because: str, *, depth: int = 7) -> tuple[Drop, ...]:
    """Rules that leave behind every published key below ``prefix``, at most ``depth`` parts deep."""
    endings = [""]
    for number in range(depth):
        endings.append(f"{endings[-1]}.{{{chr(ord('a') + number)}}}")
    return tuple(Drop(prefix + ending, because) for ending in endings[1:])
