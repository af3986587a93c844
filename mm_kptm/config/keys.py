"""Help page of the keys of an experiment file, from the dataclasses and their ``#:`` comments."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator
from dataclasses import Field, dataclass, is_dataclass
from typing import Any

from mm_kptm.config.kinds import Settings, default, discriminator_of, required, shapes_of, tag_of, typed_fields, words
from mm_kptm.errors import UserError, nearest

LINE = 100  #: longest line of the page, in characters
_COLUMN = 38  #: where comments begin


@dataclass(frozen=True)
class Key:
    """One key of an experiment file."""

    name: str  #: dotted, such as train.lr
    default: str  #: as JSON; ... where the file must give it
    meaning: str  #: its comment; empty where there is none
    kind: str  #: its type in words


@dataclass(frozen=True)
class Block:
    """Keys of one dataclass."""

    name: str  #: dotted key of the block; empty for the whole file
    choice: str  #: tag of the dataclass where several can stand here, such as vqa-v2; else empty
    summary: str
    keys: tuple[Key, ...]
    discriminator: str = ""  #: key whose value is the tag


def blocks(shape: type[Settings], prefix: str = "") -> Iterator[Block]:
    """Blocks of an experiment file: ``shape``, then its nested dataclasses, all choices of a union among them."""
    yield _block(shape, prefix, choice="")
    for field, kind in typed_fields(shape):
        inner = shapes_of(kind)
        for one in inner:
            first, *rest = blocks(one, f"{prefix}{field.name}.")
            yield first if len(inner) == 1 else _block(one, f"{prefix}{field.name}.", choice=tag_of(one))
            yield from rest


def describe(shape: type[Settings], prefix: str = "", *, width: int | None = LINE) -> str:
    """Help page: every key of an experiment file as an override, with its default, comment and type.

    Args:
        shape: dataclass of the whole file.
        prefix: show only the keys that begin with it, or the block of this choice (``vqa-v2``); empty: all.
        width: longest line, in characters; None: every key on one line.

    Raises:
        UserError: no key begins with the prefix.
    """
    there = list(blocks(shape))
    wanted = prefix.removeprefix("--")
    chosen = [
        (block, keys)
        for block in there
        if (keys := [key for key in block.keys if key.name.startswith(wanted) or block.choice == wanted])
    ]
    if not chosen:
        names = {block.choice or block.name for block in there} | {key.name for block in there for key in block.keys}
        raise UserError(f"no key begins with {prefix}{nearest(wanted, names - {''}, otherwise='--keys lists them')}")
    return "\n\n".join("\n".join(_lines(block, keys, width)) for block, keys in chosen)


def _lines(block: Block, keys: list[Key], width: int | None) -> Iterator[str]:
    choice = f", {block.discriminator} {block.choice}" if block.choice else ""
    yield from _wrapped(f"{block.name or 'experiment'}{choice}: {block.summary}", "", "  ", width)
    for key in keys:
        option = f"  {f'--{key.name}={key.default}':<{_COLUMN - 4}}  "
        text = "; ".join(filter(None, (key.meaning, key.kind)))
        if width is None:
            yield option + text
        elif len(option) > _COLUMN:
            yield option.rstrip() if len(option) <= width else f"{option[: width - 1]}…"
            yield from _wrapped(text, " " * _COLUMN, " " * _COLUMN, width)
        else:
            yield from _wrapped(text, option, " " * _COLUMN, width)


def _wrapped(text: str, first: str, rest: str, width: int | None) -> list[str]:
    if width is None:
        return [first + text]
    return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)


def _block(shape: type[Settings], prefix: str, choice: str) -> Block:
    known = comments(shape)
    discriminator = discriminator_of(shape) if choice else ""
    if discriminator:
        known.setdefault(discriminator, "chooses the keys below")
    keys = tuple(
        Key(prefix + field.name, _shown(field), known.get(field.name, ""), words(kind))
        for field, kind in typed_fields(shape)
        if not shapes_of(kind)
    )
    summary = (shape.__doc__ or "").strip().splitlines()[0]
    return Block(prefix.rstrip("."), choice, summary, keys, discriminator)


def _shown(field: Field[Any]) -> str:
    if required(field):
        return "..."
    from pydantic_core import to_jsonable_python

    value = to_jsonable_python(default(field), fallback=str)
    return json.dumps(value, ensure_ascii=False)


def comments(shape: type[Settings]) -> dict[str, str]:
    """Comments of the fields of a dataclass and of those it inherits from.

    A comment is what follows ``#:`` at the end of the field, on the lines above it, or the string below it.
    """
    found: dict[str, str] = {}
    for base in reversed(shape.__mro__):
        if is_dataclass(base):
            found |= _comments(textwrap.dedent(inspect.getsource(base)))
    return found


def _comments(source: str) -> dict[str, str]:
    lines = source.splitlines()
    (body,) = (node.body for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    found: dict[str, str] = {}
    for node, after in zip(body, [*body[1:], None], strict=True):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        end = node.end_lineno or node.lineno
        inside = (line.partition("#:")[2].strip() for line in lines[node.lineno - 1 : end])
        text = " ".join(filter(None, inside))
        above = node.lineno - 1
        while not text and above and lines[above - 1].lstrip().startswith("#:"):
            above -= 1
        if not text:
            text = " ".join(line.lstrip().removeprefix("#:").strip() for line in lines[above : node.lineno - 1])
        if not text and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            text = " ".join(str(after.value.value).split()).rstrip(".")
        if text:
            found[node.target.id] = text
    return found
