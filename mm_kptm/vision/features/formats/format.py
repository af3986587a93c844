"""What a feature file format is, and the finding of the formats there are.

A format is a value of :class:`Format` in a module of this package; nothing lists them by hand.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mm_kptm.errors import UserError, nearest
from mm_kptm.vision.features.detections import Detections

Add = Callable[[Detections], None]  #: writes one image


@dataclass(frozen=True)
class Format:
    """One way in which region features are published."""

    name: str
    summary: str  #: one line for a listing
    keeps: frozenset[str]  #: the optional values of :class:`Detections` that it holds, "size" among them
    recognises: Callable[[Path], bool]  #: whether a file or folder that exists is of this format
    read: Callable[[Path], Iterator[Detections]]  #: image by image, in constant memory
    write: Callable[[Path], AbstractContextManager[Add]]  #: the target appears under its name when it is whole
    float16: bool = False  #: whether features and boxes are rounded to float16


@cache
def formats() -> dict[str, Format]:
    """Every format by its name."""
    package = importlib.import_module(__package__ or "")
    found: dict[str, Format] = {}
    for module in pkgutil.iter_modules(package.__path__):
        values = vars(importlib.import_module(f"{package.__name__}.{module.name}")).values()
        found |= {value.name: value for value in values if isinstance(value, Format)}
    return dict(sorted(found.items()))


def format_named(name: str) -> Format:
    """A format by its name.

    Raises:
        UserError: there is none of that name.
    """
    if name not in formats():
        raise UserError(f"{name!r} is no format of region features{nearest(name, formats())}")
    return formats()[name]


def format_of(path: Path) -> Format:
    """The format that a file or folder is of, seen from its contents.

    Raises:
        UserError: it is not there, or no format or more than one recognises it.
    """
    if not path.exists():
        raise UserError(f"region features were looked for in {path}, which is not there")
    able = [each for each in formats().values() if each.recognises(path)]
    if len(able) != 1:
        seen = f"looks like {' and '.join(each.name for each in able)}" if able else "is of no known format"
        raise UserError(f"{path} {seen}; say which with --from, one of {', '.join(formats())}")
    return able[0]
