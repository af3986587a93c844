"""Validation of a document against its dataclass by pydantic, with the first mistake reported in one sentence.

Types are strict, since YAML has its own: 1.5 is not an int and true not a number. An unquoted scalar is still
accepted as text where the field is a str (``name: 2024``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar, get_args, get_origin

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from mm_kptm.config.document import MappingNode, ScalarNode, flat, lay
from mm_kptm.config.kinds import (
    Settings,
    discriminator_of,
    is_text,
    literals,
    shapes_of,
    shown,
    tags_of,
    typed_fields,
    words,
)
from mm_kptm.config.other_libraries import name_here
from mm_kptm.errors import UserError, nearest

S = TypeVar("S", bound=Settings)

_UNKNOWN, _MISSING = "unexpected_keyword_argument", "missing"
_TAGS = ("union_tag_invalid", "union_tag_not_found")


@dataclass(frozen=True)
class _Spot:
    """Location of a mistake: the document node, its dotted key and its expected type."""

    keys: tuple[str, ...]
    kind: Any
    node: MappingNode | ScalarNode  #: where the key is not in the document, the mapping that should have it
    known: Mapping[str, Any]  #: the keys beside it
    inside: bool  #: whether the mistake lies in a part of the value, such as an entry of a list

    @property
    def key(self) -> str:
        return ".".join(self.keys)


def validate(shape: type[S], document: MappingNode) -> S:
    """Convert a document to its dataclass.

    Raises:
        UserError: a key is unknown or missing, a value has another type, or a rule of a dataclass is broken.
    """
    _check_ranges(document, "")
    while True:
        try:
            (settings,) = _adapter(shape).validate_json(json.dumps([_content(document)], default=str))
            return settings
        except ValidationError as error:
            mistakes = error.errors(include_url=False)
        spots = [_spot(shape, document, mistake["loc"][1:]) for mistake in mistakes]
        unquoted = [spot for spot in spots if _reads_as_text(spot)]
        if not unquoted:
            ranks = {_UNKNOWN: 0, _MISSING: 1}
            first = min(range(len(mistakes)), key=lambda index: ranks.get(mistakes[index]["type"], 2))
            raise _mistake(mistakes[first], spots[first], shape) from None
        for spot in unquoted:
            text = spot.node.text if isinstance(spot.node, ScalarNode) else None
            document = lay(document, spot.keys, ScalarNode(text, spot.node.place, text), spot.node.place)


def _check_ranges(node: MappingNode | ScalarNode, key: str) -> None:
    """Refuse numbers that no setting can hold, negative seeds, and texts with characters that no file name has."""
    if isinstance(node, MappingNode):
        for name, entry in node.entries.items():
            _check_ranges(entry, f"{key}.{name}" if key else name)
        return
    for value in node.value if isinstance(node.value, list) else [node.value]:
        if isinstance(value, str) and _UNWRITABLE.search(value):
            raise UserError(f"{node.place}: {key} holds a character that stands for nothing (NUL, or half of one)")
        if isinstance(value, int) and not -_LARGEST <= value < _LARGEST:
            raise UserError(f"{node.place}: {key} is beyond what a number can be here, 64 bits")
        if isinstance(value, int) and key.rpartition(".")[2] == "seed" and value < 0:
            raise UserError(f"{node.place}: {key} is {value} but must not be negative")


_UNWRITABLE = re.compile("[\x00\ud800-\udfff]")
_LARGEST = 2**63


@cache
def _adapter(shape: type[S]) -> TypeAdapter[tuple[S]]:
    # pydantic takes a configuration for a tuple, which its dataclasses inherit, but not for a dataclass
    one: Any = tuple[shape]  # type: ignore[valid-type]  # a type that is only known now
    return TypeAdapter(one, config=ConfigDict(extra="forbid", strict=True))


def _content(node: MappingNode | ScalarNode) -> Any:
    """Plain values; a date or another type that JSON lacks stays as written."""
    if isinstance(node, MappingNode):
        return {key: _content(entry) for key, entry in node.entries.items()}
    return node.value if node.value is None or isinstance(node.value, bool | int | float | str | list) else node.text


def _spot(shape: type[Settings], document: MappingNode, steps: Sequence[int | str]) -> _Spot:
    """Resolve a pydantic error location (keys, union tags, list indices) to a document node."""
    spot = _Spot((), shape, document, {}, inside=False)
    for step in steps:
        shapes = shapes_of(spot.kind)
        if len(shapes) > 1 and isinstance(step, str):
            spot = _Spot(spot.keys, tags_of(spot.kind).get(step), spot.node, spot.known, inside=False)
            continue
        if shapes:
            known = {field.name: kind for field, kind in typed_fields(shapes[0])}
        elif get_origin(spot.kind) is dict and isinstance(spot.node, MappingNode):
            known = dict.fromkeys(spot.node.entries, get_args(spot.kind)[1])
        else:
            return _Spot(spot.keys, spot.kind, spot.node, spot.known, inside=True)
        entries = spot.node.entries if isinstance(spot.node, MappingNode) else {}
        key = str(step)
        spot = _Spot((*spot.keys, key), known.get(key), entries.get(key, spot.node), known, inside=False)
    return spot


def _reads_as_text(spot: _Spot) -> bool:
    node = spot.node
    return (
        isinstance(node, ScalarNode)
        and node.text is not None
        and node.value is not None
        and not isinstance(node.value, str)
        and is_text(spot.kind)
    )


def _mistake(mistake: ErrorDetails, spot: _Spot, shape: type[Settings]) -> UserError:
    node, place, key = spot.node, spot.node.place, spot.key
    if mistake["type"] == "value_error":
        return _broken_rule(mistake["ctx"]["error"], spot)
    if mistake["type"] == "json_invalid":
        return UserError(f"{place}: this is not an experiment file: its brackets nest too deep")
    if mistake["type"] == _UNKNOWN:
        known = name_here(shape, spot.keys) or nearest(spot.keys[-1], spot.known)
        return UserError(f"{place}: unknown key {key}{known}")
    if mistake["type"] == _MISSING and not spot.inside:
        return UserError(f"{place}: the key {key} is missing ({words(spot.kind)})")
    if mistake["type"] in _TAGS and isinstance(node, MappingNode):
        return _wrong_tag(node, spot)
    value = flat(node)
    if shapes_of(spot.kind):
        return UserError(f"{place}: {key} holds keys and values, not {shown(value)}")
    if value is None:
        return UserError(f"{place}: {key} has no value; it is {words(spot.kind)}")
    hint = nearest(str(value), map(str, literals(spot.kind)), otherwise="")
    return UserError(f"{place}: {key} must be {words(spot.kind)}, not {shown(value)}{hint}")


def _broken_rule(cause: Exception, spot: _Spot) -> UserError:
    """Error for a broken dataclass rule, whose message begins with the offending key."""
    if not isinstance(cause, UserError):
        raise cause
    prefix = f"{spot.key}." if spot.keys else ""
    blamed = re.split(r"[ .]", str(cause).removeprefix(prefix), maxsplit=1)[0]
    entries = spot.node.entries if isinstance(spot.node, MappingNode) else {}
    return UserError(f"{entries.get(blamed, spot.node).place}: {cause}")


def _wrong_tag(node: MappingNode, spot: _Spot) -> UserError:
    """Error for a missing or unknown union tag."""
    tags = tags_of(spot.kind)
    key = discriminator_of(next(iter(tags.values())))
    if key not in node.entries:
        return UserError(f"{node.place}: {spot.key}.{key} is missing; it is one of {', '.join(tags)}")
    entry = node.entries[key]
    word = entry.text if isinstance(entry, ScalarNode) else None
    return UserError(f"{entry.place}: {spot.key}.{key} cannot be {shown(flat(entry))}{nearest(str(word), tags)}")
