"""Readers of examples that can be used one example at a time, so that a file may be checked without being kept."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar

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


@dataclass(frozen=True)
class OneByOne(Generic[T]):
    """A :func:`collected` reader that gives one example at a time, and can be sent to another process."""

    read: Callable[..., Iterable[T]]  #: of a module

    def __call__(self, path: Path) -> Iterable[T]:
        """The examples of a file."""
        return one_by_one(self.read)(path)
