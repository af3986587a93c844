"""Experiment files: YAML and dotted overrides parsed into frozen dataclasses, every mistake reported in one sentence.

The shape of a file is a frozen dataclass whose fields are values, mappings, other such dataclasses, or a choice of
them, ``Annotated[NumberWorld | VqaFiles, Field(discriminator="name")]``, in which the first field of each, a
``Literal``, is the discriminator. Types, conversion and choices are pydantic's; this package adds YAML line numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar, get_type_hints

import yaml

from mm_kptm.config.document import Plain, lay, parse, split
from mm_kptm.config.keys import describe
from mm_kptm.config.kinds import Settings, tags_of

__all__ = ["choices", "describe", "dump", "leaves", "plain", "read"]

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
