"""Types of settings: descriptions for messages, allowed literals, union tags."""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Union, get_args, get_origin, get_type_hints

from mm_kptm.config.document import Plain


class Settings(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


def typed_fields(shape: type[Settings]) -> Iterator[tuple[Field[Any], Any]]:
    kinds = get_type_hints(shape)
    return ((field, kinds[field.name]) for field in fields(shape) if field.init)


def required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def default(field: Field[Any]) -> object:
    return field.default if field.default_factory is MISSING else field.default_factory()


def members(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def shapes_of(kind: Any) -> list[type[Settings]]:
    return [member for member in members(kind) if isinstance(member, type) and is_dataclass(member)]


def is_text(kind: Any) -> bool:
    """Whether a type accepts only str or null; an unquoted scalar is then taken literally."""
    others = {member for member in members(kind) if get_origin(member) is not Literal}
    return {*map(type, literals(kind)), *others} <= {str, Path, type(None)}


def literals(kind: Any) -> tuple[Any, ...]:
    """Allowed literals of a type; empty where any value is allowed."""
    return tuple(word for member in members(kind) if get_origin(member) is Literal for word in get_args(member))


def discriminator_of(shape: type[Settings]) -> str:
    """The field of a dataclass that tells it from others: the first that can have one literal only."""
    kinds = get_type_hints(shape)
    single = [one.name for one in fields(shape) if get_origin(kinds[one.name]) is Literal]
    return next(name for name in single if len(get_args(kinds[name])) == 1)


def tag_of(shape: type[Settings]) -> str:
    """Discriminator tag of a dataclass."""
    return str(get_args(get_type_hints(shape)[discriminator_of(shape)])[0])


def tags_of(kind: Any) -> dict[str, type[Settings]]:
    """Dataclasses of a discriminated union by tag."""
    return {tag_of(shape): shape for shape in shapes_of(kind)}


_SIMPLE = {
    int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path", type(None): "null",
}  # fmt: skip


def words(kind: Any) -> str:
    """Type in plain words, for messages."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind in _SIMPLE:
        return _SIMPLE[kind]
    if len(members(kind)) > 1:
        return " or ".join(map(words, members(kind)))
    if origin is Literal:
        return "one of " * (len(arguments) > 1) + ", ".join(map(str, arguments))
    if origin is tuple and Ellipsis not in arguments:
        return f"a list of {len(arguments)}, each {words(arguments[0])}"
    if origin in (tuple, list):
        return f"a list, each {words(arguments[0])}"
    if origin is dict:
        return f"keys, each with {words(arguments[1])}"
    return "keys and values"


def shown(value: Plain) -> str:
    if value is None:
        return "nothing"
    return "a list" if isinstance(value, list) else "keys and values" if isinstance(value, dict) else repr(value)
