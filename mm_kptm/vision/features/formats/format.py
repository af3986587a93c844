"""Interface and registry of feature file formats.

A format is a :class:`Format` instance in a module of this package; they are discovered automatically.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mm_kptm.errors import UserError, nearest
from mm_kptm.vision.features.detections import Detections
from mm_kptm.walking import instances_in

Add = Callable[[Detections], None]  #: writes one image


@dataclass(frozen=True)
class Format:
    """Published file format of region features."""

    name: str
    summary: str  #: one line for a listing
    keeps: frozenset[str]  #: columns of :class:`Detections` that it stores, "size" included
    recognises: Callable[[Path], bool]  #: whether an existing file or folder has this format
    read: Callable[[Path], Iterator[Detections]]  #: iterate over images in constant memory
    write: Callable[[Path], AbstractContextManager[Add]]  #: context manager of an atomic target
    float16: bool = False  #: whether features and boxes are rounded to float16


@cache
def formats() -> dict[str, Format]:
    """All formats by name."""
    found = {each.name: each for each in instances_in(__package__ or "", Format)}
    return dict(sorted(found.items()))


def format_named(name: str) -> Format:
    """Find a format by name.

    Raises:
        UserError: there is none of that name.
    """
    if name not in formats():
        raise UserError(f"{name!r} is no format of region features{nearest(name, formats())}")
    return formats()[name]


def format_of(path: Path) -> Format:
    """Detect the format of a file or folder from its contents.

    Raises:
        UserError: the path does not exist or is an empty file, or not exactly one format recognises it.
    """
    if not path.exists():
        raise UserError(f"region features were looked for in {path}, which is not there")
    if path.is_file() and not path.stat().st_size:
        raise UserError(f"{path} is an empty file")
    able = [each for each in formats().values() if each.recognises(path)]
    if len(able) != 1:
        seen = f"looks like {' and '.join(each.name for each in able)}" if able else "is of no known format"
        raise UserError(f"{path} {seen}; say which with --from, one of {', '.join(formats())}")
    return able[0]
