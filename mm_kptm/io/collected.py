"""Readers of examples that can be used one example at a time, so that a file may be checked without being kept."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def collected(each: Callable[P, Iterator[T]]) -> Callable[P, tuple[T, ...]]:
    """Decorator that makes a generator a reader of whole files; :func:`one_by_one` finds the generator again."""

    @functools.wraps(each)
    def read(*args: P.args, **kwargs: P.kwargs) -> tuple[T, ...]:
        return tuple(each(*args, **kwargs))

    return read


def one_by_one(read: Callable[[Path], Iterable[T]]) -> Callable[[Path], Iterable[T]]:
    """The generator of a :func:`collected` reader, or the reader itself."""
    if isinstance(read, functools.partial):
        given: Any = read
        return functools.partial(one_by_one(given.func), *given.args, **given.keywords)
    found: Callable[[Path], Iterable[T]] = getattr(read, "__wrapped__", read)
    return found
