"""Experiment files: YAML and dotted overrides parsed into frozen dataclasses, every mistake reported in one sentence.

The shape of a file is a frozen dataclass whose fields are values, mappings, other such dataclasses, or a choice of
them, ``Annotated[NumberWorld | VqaFiles, Field(discriminator="name")]``, in which the first field of each that is a
``Literal`` of one value is the discriminator. Types, conversion and choices are pydantic's; this package adds YAML line
numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar, get_type_hints

import yaml

from mm_kptm.config.document import MappingNode, Plain, ScalarNode, lay, parse, split, tree_of
from mm_kptm.config.keys import describe
from mm_kptm.config.kinds import Settings, tags_of
from mm_kptm.errors import UserError

__all__ = ["choices", "describe", "dump", "leaves", "of", "plain", "read"]

S = TypeVar("S", bound=Settings)


def read(shape: type[S], path: Path, overrides: Sequence[str] = ()) -> S:
    """Read the experiment in ``path``, with dotted overrides such as ``--train.steps=10`` applied.

    Raises:
        UserError: the file is missing, empty or no YAML; a key is unknown, duplicated or missing; a value has the
            wrong type. The message names the file and line, or the option.
    """
    document = parse(path)
    for override in overrides:
        keys, value = split(override)
        document = lay(document, keys, value, place=override.partition("=")[0])
    return _validated(shape, document)


def of(shape: type[S], settings: Mapping[str, object] | Path, changes: Mapping[str, object] | None = None) -> S:
    """The experiment of a dict of settings or of a file, with changes by key.

    Args:
        shape: the dataclass of the settings.
        settings: values, lists and dicts, or a file of them.
        changes: values by dotted key (``{"train.steps": 10}``), or dicts that are merged into blocks
            (``{"train": {"steps": 10}}``).

    Raises:
        UserError: as :func:`read`; a value is of no type that YAML has.
    """
    document = parse(settings) if isinstance(settings, Path) else tree_of(settings)
    for key, value in (changes or {}).items():
        document = _merged(document, key.split("."), tree_of(value, key), key)
    if not isinstance(document, MappingNode):
        raise UserError("an experiment is made of keys and values, such as {'task': 'vqa'}")
    return _validated(shape, document)


def _merged(
    tree: MappingNode | ScalarNode, keys: Sequence[str], change: MappingNode | ScalarNode, place: str
) -> MappingNode:
    """Copy of ``tree`` with a change laid at a key path; of a mapping, entry by entry."""
    if not isinstance(change, MappingNode) or not change.entries:
        return lay(tree, keys, change, place)
    for name, inner in change.entries.items():
        tree = _merged(tree, [*keys, name], inner, inner.place)
    return tree if isinstance(tree, MappingNode) else MappingNode({}, place)


def _validated(shape: type[S], document: MappingNode) -> S:
    from mm_kptm.config.validation import validate  # imports pydantic, which commands that read no file do without

    return validate(shape, document)


def dump(settings: Settings) -> str:
    """The YAML of ``settings``, complete with defaults; reading it again gives an equal value."""
    return yaml.safe_dump(plain(settings), sort_keys=False, allow_unicode=True)


def plain(settings: object) -> Plain:
    """``settings`` as mappings, lists and scalars, as YAML and JSON have them."""
    from pydantic_core import to_jsonable_python

    value: Plain = to_jsonable_python(settings, fallback=_plain)
    return value


def _plain(value: object) -> object:
    """Plain form of values that pydantic does not serialise."""
    return dict(value) if isinstance(value, Mapping) else str(value)


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
    """The dataclasses of a discriminated union field, by their tag."""
    return tags_of(get_type_hints(shape)[key])
