"""Experiment files: YAML and dotted overrides become frozen dataclasses, and every mistake one plain sentence.

The shape of a file is a frozen dataclass whose fields are values, mappings, other such dataclasses, or a choice of
them (``NumberWorld | VqaFiles``), in which the first field of each, a ``Literal``, says which one is meant. This is
the one room that knows the lines of YAML, and jsonargparse, which turns single values into what their type says.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import jsonargparse
import yaml

from mm_kptm.config.document import MappingNode, Plain, ScalarNode, flat, lay, parse, split
from mm_kptm.config.kinds import (
    Settings,
    default,
    is_text,
    members,
    required,
    shapes_of,
    shown,
    tag_of,
    typed_fields,
    words,
)
from mm_kptm.errors import UserError, nearest

S = TypeVar("S", bound=Settings)


def read(shape: type[S], path: Path, overrides: Sequence[str] = ()) -> S:
    """The experiment in ``path``, with dotted overrides such as ``--train.steps=10`` laid over it.

    Raises:
        UserError: the file is missing, empty or no YAML; a key is unknown, doubled or lacking; a value has another
            type than the shape says. The sentence names the file and line, or the option.
    """
    document = parse(path)
    for override in overrides:
        keys, value = split(override)
        document = lay(document, keys, value, place=override.partition("=")[0])
    return _build(shape, document, prefix="")


def dump(settings: Settings) -> str:
    """The YAML of ``settings``, complete with defaults; reading it again gives an equal value."""
    return yaml.safe_dump(plain(settings), sort_keys=False, allow_unicode=True)


def plain(settings: object) -> Plain:
    """``settings`` as mappings, lists and scalars, as YAML and JSON have them."""
    if is_dataclass(settings):
        return {field.name: plain(getattr(settings, field.name)) for field in fields(settings)}
    if isinstance(settings, Mapping):
        return {str(key): plain(value) for key, value in settings.items()}
    if isinstance(settings, list | tuple | set | frozenset):
        return [plain(value) for value in settings]
    if settings is None or isinstance(settings, bool | int | float | str):
        return settings
    return str(settings)


def leaves(settings: Settings) -> dict[str, Plain]:
    """Every value of ``settings`` by its dotted key."""
    return dict(_leaves(plain(settings), prefix=""))


def _leaves(value: Plain, prefix: str) -> Iterator[tuple[str, Plain]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{prefix}.{key}" if prefix else key)
    else:
        yield prefix, value


def choices(shape: type[Settings], key: str) -> dict[str, type[Settings]]:
    """The dataclasses that a field chooses from, by the name that picks them."""
    return {tag_of(choice): choice for choice in shapes_of(get_type_hints(shape)[key])}


def describe(shape: type[Settings]) -> str:
    """A help page: every key of an experiment file as an override, its default, its type and its ``#:`` comment."""
    return "\n\n".join("\n".join(lines) for lines in _sections(shape, prefix=""))


def _sections(shape: type[Settings], prefix: str, choice: str = "") -> Iterator[list[str]]:
    """The lines of one dataclass, then those of the dataclasses in it."""
    meanings = dict(re.findall(r"^    (\w+): .*#: (.+)$", inspect.getsource(shape), re.MULTILINE))
    lines = [f"{prefix.rstrip('.') or 'experiment'}{choice}: {(shape.__doc__ or '').splitlines()[0]}"]
    inner: list[Iterator[list[str]]] = []
    for field, kind in typed_fields(shape):
        key = prefix + field.name
        shapes = shapes_of(kind)
        for one in shapes:
            tag = f", {fields(one)[0].name} {tag_of(one)}" if len(shapes) > 1 else ""
            inner.append(_sections(one, f"{key}.", tag))
        if not shapes:
            given = "..." if required(field) else json.dumps(plain(default(field)), ensure_ascii=False)
            meaning = "; ".join(filter(None, (meanings.get(field.name), words(kind))))
            lines.append(f"  {f'--{key}={given}':<34}  {meaning}")
    yield lines
    for sections in inner:
        yield from sections


def _build(shape: type[S], branch: MappingNode, prefix: str) -> S:
    kinds = {field.name: kind for field, kind in typed_fields(shape)}
    for key, entry in branch.entries.items():
        if key not in kinds:
            raise UserError(f"{entry.place}: unknown key {prefix}{key}{nearest(key, kinds)}")
    for field, kind in typed_fields(shape):
        if required(field) and field.name not in branch.entries:
            raise UserError(f"{branch.place}: the key {prefix}{field.name} is missing ({words(kind)})")
    values = {key: _value(kinds[key], entry, prefix + key) for key, entry in branch.entries.items()}
    try:
        return shape(**values)
    except UserError as error:
        # A rule of the dataclass begins its sentence with the key that breaks it.
        blamed = re.split(r"[ .]", str(error).removeprefix(prefix), maxsplit=1)[0]
        raise UserError(f"{branch.entries.get(blamed, branch).place}: {error}") from None


def _value(kind: Any, entry: MappingNode | ScalarNode, key: str) -> Any:
    shapes = shapes_of(kind)
    optional = type(None) in members(kind)
    if shapes and isinstance(entry, MappingNode):
        shape = shapes[0] if len(shapes) == 1 else _chosen(shapes, entry, key)
        return _build(shape, entry, prefix=f"{key}.")
    value = flat(entry)
    if value is None and optional:
        return None
    if shapes:
        raise UserError(f"{entry.place}: {key} holds keys and values, not {shown(value)}")
    if value is None:
        raise UserError(f"{entry.place}: {key} has no value; it is {words(kind)}")
    if isinstance(entry, ScalarNode) and entry.text is not None and is_text(kind):
        value = entry.text
    try:
        return _converter(kind).parse_object({"value": value}).value
    except (jsonargparse.ArgumentError, TypeError):
        hint = nearest(str(value), map(str, get_args(kind))) if get_origin(kind) is Literal else ""
        raise UserError(f"{entry.place}: {key} must be {words(kind)}, not {shown(value)}{hint}") from None


def _chosen(shapes: Sequence[type[Settings]], branch: MappingNode, key: str) -> type[Settings]:
    """The dataclass whose tag is the one the file names."""
    field = fields(shapes[0])[0].name
    tagged = {tag_of(shape): shape for shape in shapes}
    if field not in branch.entries:
        raise UserError(f"{branch.place}: {key}.{field} is missing; it is one of {', '.join(tagged)}")
    entry = branch.entries[field]
    name = entry.text if isinstance(entry, ScalarNode) else None
    if name not in tagged:
        raise UserError(f"{entry.place}: {key}.{field} cannot be {shown(flat(entry))}{nearest(str(name), tagged)}")
    return tagged[name]


@cache
def _converter(kind: Any) -> jsonargparse.ArgumentParser:
    parser = jsonargparse.ArgumentParser(exit_on_error=False, add_help=False)
    parser.add_argument("--value", type=kind)
    return parser
