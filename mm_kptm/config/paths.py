"""Paths in settings: which are there, and where those of a file or of a run that was moved lie."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

S = TypeVar("S")
_PATTERN = re.compile(r"[*?\[{]")  #: begins a glob, a range of shards, or {seed}


def paths_of(settings: object) -> dict[str, Path]:
    """Every path of ``settings`` by its dotted key; of mappings and tuples, one for each entry."""
    return dict(_walk(settings, ""))


def with_paths(settings: S, change: Callable[[str, Path], Path]) -> S:
    """``settings`` with every path replaced.

    Args:
        settings: a dataclass, nested as experiments are.
        change: the new path by the dotted key and the old path; the same object where it stays.
    """
    changed: S = _changed(settings, "", change)
    return changed


def is_there(path: Path) -> bool:
    """Whether a path exists, or files begin with it: patterns, shards and the beginnings that bitext is named by."""
    text = str(path)
    found = _PATTERN.search(text)
    if found is None and path.exists():
        return True
    head = Path(text[: found.start()] if found else text)
    folder, beginning = (head, "") if found and text[: found.start()].endswith("/") else (head.parent, head.name)
    return folder.is_dir() and any(entry.name.startswith(beginning) for entry in folder.iterdir())


def first_there(path: Path, folders: Sequence[Path]) -> Path:
    """``path`` below the first of some folders that has it; as it is where none has, or where it is absolute."""
    if path.is_absolute():
        return path
    return next((folder / path for folder in folders if is_there(folder / path)), path)


def _walk(value: object, key: str) -> Iterator[tuple[str, Path]]:
    if isinstance(value, Path):
        yield key, value
    for name, inner in _entries(value):
        yield from _walk(inner, f"{key}.{name}" if key else name)


def _changed(value: Any, key: str, change: Callable[[str, Path], Path]) -> Any:
    if isinstance(value, Path):
        return change(key, value)
    entries = {name: _changed(inner, f"{key}.{name}" if key else name, change) for name, inner in _entries(value)}
    different = {name: inner for name, inner in entries.items() if inner is not dict(_entries(value))[name]}
    if not different:
        return value
    if is_dataclass(value):
        return replace(value, **different)  # type: ignore[type-var]  # an instance, as it has entries
    return type(value)(entries.values()) if isinstance(value, tuple) else entries


def _entries(value: object) -> list[tuple[str, Any]]:
    """Named parts of a dataclass, a mapping or a tuple."""
    if is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name)) for field in fields(value) if field.init]
    if isinstance(value, Mapping):
        return [(str(name), inner) for name, inner in value.items()]
    return [(str(place), inner) for place, inner in enumerate(value)] if isinstance(value, tuple) else []
