"""Experiment files: YAML and dotted overrides become frozen dataclasses, and every mistake one plain sentence.

The shape of a file is a frozen dataclass whose fields are values, mappings, other such dataclasses, or a choice of
them (``NumberWorld | VqaFiles``), in which the first field of each, a ``Literal``, says which one is meant. This is
the one module that knows the lines of YAML, and jsonargparse, which turns single values into what their type says.

Words: a *branch* is a YAML mapping, a *leaf* any other value, a *place* the file and line (or the option) it is from.
"""

from __future__ import annotations

import difflib
import inspect
import json
import re
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

import jsonargparse
import yaml

from mm_kptm.errors import UserError


class Settings(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


S = TypeVar("S", bound=Settings)
Plain: TypeAlias = "bool | int | float | str | list[Plain] | dict[str, Plain] | None"


@dataclass(frozen=True)
class _Leaf:
    value: Plain
    place: str


@dataclass(frozen=True)
class _Branch:
    entries: Mapping[str, _Branch | _Leaf]
    place: str


def read(shape: type[S], path: Path, overrides: Sequence[str] = ()) -> S:
    """The experiment in ``path``, with dotted overrides such as ``--train.steps=10`` laid over it.

    Raises:
        UserError: the file is missing, empty or no YAML; a key is unknown, doubled or lacking; a value has another
            type than the shape says. The sentence names the file and line, or the option.
    """
    document = _parse(path)
    for override in overrides:
        keys, value = _split(override)
        document = _lay(document, keys, value, place=override.partition("=")[0])
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


def describe(shape: type[Settings]) -> str:
    """A help page: every key of an experiment file as an override, its default, its type and its ``#:`` comment."""
    return "\n\n".join("\n".join(lines) for lines in _sections(shape, prefix=""))


def _sections(shape: type[Settings], prefix: str, choice: str = "") -> Iterator[list[str]]:
    """The lines of one dataclass, then those of the dataclasses in it."""
    meanings = dict(re.findall(r"^    (\w+): .*#: (.+)$", inspect.getsource(shape), re.MULTILINE))
    lines = [f"{prefix.rstrip('.') or 'experiment'}{choice}: {(shape.__doc__ or '').splitlines()[0]}"]
    inner: list[Iterator[list[str]]] = []
    for field, kind in _typed_fields(shape):
        key = prefix + field.name
        shapes = _shapes(kind)
        for one in shapes:
            tag = f", {fields(one)[0].name} {_tag(one)}" if len(shapes) > 1 else ""
            inner.append(_sections(one, f"{key}.", tag))
        if not shapes:
            given = "..." if _required(field) else json.dumps(plain(_default(field)), ensure_ascii=False)
            meaning = "; ".join(filter(None, (meanings.get(field.name), _words(kind))))
            lines.append(f"  {f'--{key}={given}':<34}  {meaning}")
    yield lines
    for sections in inner:
        yield from sections


def nearest(word: str, known: Iterable[str]) -> str:
    """``; did you mean this?`` where a known word is close to ``word``, else the words there are."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; there are {', '.join(known)}" if known else ""


# ------------------------------------------------------------------------------------------------- from text to a tree


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, for which 1e-3 is a number as it is everywhere else."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\d[\d_]*)(\.\d*)?[eE][-+]?\d+"),
    list("-+0123456789"),
)


def _parse(path: Path) -> _Branch:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"the experiment file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"the experiment file {path} is not UTF-8 text") from None
    try:
        for event in yaml.parse(text, _Loader):
            if isinstance(event, yaml.AliasEvent):
                line = event.start_mark.line + 1 if event.start_mark else 1
                raise UserError(f"{path}, line {line}: *{event.anchor} repeats another part; write it out instead")
        node = yaml.compose(text, _Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{path}, line {line}: this is not YAML ({error.problem})") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not YAML ({str(error).splitlines()[0]})") from None
    except RecursionError:
        raise UserError(f"{path} is not an experiment file: its brackets nest too deep") from None
    if node is None:
        raise UserError(f"the experiment file {path} is empty")
    tree = _tree(node, str(path))
    if isinstance(tree, _Leaf):
        raise UserError(f"{tree.place}: an experiment file holds keys and values, such as `task: vqa`")
    return tree


def _tree(node: yaml.Node, source: str) -> _Branch | _Leaf:
    """The composed YAML as a tree of branches and leaves that know their places."""
    place = f"{source}, line {node.start_mark.line + 1}"
    loader = _Loader("")
    if not isinstance(node, yaml.MappingNode):
        try:
            return _Leaf(loader.construct_object(node, deep=True), place)
        except (yaml.YAMLError, ValueError) as error:
            reason = getattr(error, "problem", None) or str(error)
            raise UserError(f"{place}: this value cannot be read ({reason})") from None
    entries: dict[str, _Branch | _Leaf] = {}
    for key_node, value_node in node.value:
        key = str(key_node.value)
        here = f"{source}, line {key_node.start_mark.line + 1}"
        if key in entries:
            raise UserError(f"{here}: {key} stands here for the second time, first at {entries[key].place}")
        entries[key] = replace(_tree(value_node, source), place=here)
    return _Branch(entries, place)


def _split(override: str) -> tuple[list[str], _Branch | _Leaf]:
    option, equals, text = override.partition("=")
    keys = option.removeprefix("--").split(".")
    if not option.startswith("--") or not equals or not all(keys):
        raise UserError(f"{override} is no override; write it like --train.steps=10")
    try:
        node = yaml.compose(text, _Loader)
    except yaml.YAMLError:
        raise UserError(f"{option}: the value {text!r} is not YAML") from None
    return keys, _Leaf(None, option) if node is None else replace(_tree(node, option), place=option)


def _lay(tree: _Branch | _Leaf | None, keys: Sequence[str], value: _Branch | _Leaf, place: str) -> _Branch:
    """``tree`` with ``value`` at the end of the path ``keys``."""
    entries = dict(tree.entries) if isinstance(tree, _Branch) else {}
    key, *rest = keys
    entries[key] = _lay(entries.get(key), rest, value, place) if rest else value
    return _Branch(entries, tree.place if isinstance(tree, _Branch) else place)


# ------------------------------------------------------------------------------------------ from a tree to dataclasses


def _build(shape: type[S], branch: _Branch, prefix: str) -> S:
    kinds = {field.name: kind for field, kind in _typed_fields(shape)}
    for key, entry in branch.entries.items():
        if key not in kinds:
            raise UserError(f"{entry.place}: unknown key {prefix}{key}{nearest(key, kinds)}")
    for field, kind in _typed_fields(shape):
        if _required(field) and field.name not in branch.entries:
            raise UserError(f"{branch.place}: the key {prefix}{field.name} is missing ({_words(kind)})")
    values = {key: _value(kinds[key], entry, prefix + key) for key, entry in branch.entries.items()}
    try:
        return shape(**values)
    except UserError as error:
        raise UserError(f"{branch.place}: {error}") from None


def _value(kind: Any, entry: _Branch | _Leaf, key: str) -> Any:
    shapes = _shapes(kind)
    optional = type(None) in _members(kind)
    if shapes and isinstance(entry, _Branch):
        shape = shapes[0] if len(shapes) == 1 else _chosen(shapes, entry, key)
        return _build(shape, entry, prefix=f"{key}.")
    value = _flat(entry)
    if value is None and optional:
        return None
    if shapes:
        raise UserError(f"{entry.place}: {key} holds keys and values, not {_shown(value)}")
    if value is None:
        raise UserError(f"{entry.place}: {key} has no value; it is {_words(kind)}")
    try:
        return _converter(kind).parse_object({"value": value}).value
    except (jsonargparse.ArgumentError, TypeError):
        hint = nearest(str(value), map(str, get_args(kind))) if get_origin(kind) is Literal else ""
        raise UserError(f"{entry.place}: {key} must be {_words(kind)}, not {_shown(value)}{hint}") from None


def _chosen(shapes: Sequence[type[Settings]], branch: _Branch, key: str) -> type[Settings]:
    """The dataclass whose tag is the one the file names."""
    field = fields(shapes[0])[0].name
    tagged = {_tag(shape): shape for shape in shapes}
    if field not in branch.entries:
        raise UserError(f"{branch.place}: {key}.{field} is missing; it is one of {', '.join(tagged)}")
    name = _flat(branch.entries[field])
    if not isinstance(name, str) or name not in tagged:
        place = branch.entries[field].place
        raise UserError(f"{place}: {key}.{field} cannot be {_shown(name)}{nearest(str(name), tagged)}")
    return tagged[name]


def _flat(entry: _Branch | _Leaf) -> Plain:
    if isinstance(entry, _Leaf):
        return entry.value
    return {key: _flat(value) for key, value in entry.entries.items()}


@cache
def _converter(kind: Any) -> jsonargparse.ArgumentParser:
    parser = jsonargparse.ArgumentParser(exit_on_error=False, add_help=False)
    parser.add_argument("--value", type=kind)
    return parser


# ------------------------------------------------------------------------------------------------------ kinds of values


def _typed_fields(shape: type[Settings]) -> Iterator[tuple[Field[Any], Any]]:
    kinds = get_type_hints(shape)
    return ((field, kinds[field.name]) for field in fields(shape) if field.init)


def _required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _default(field: Field[Any]) -> object:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _members(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _shapes(kind: Any) -> list[type[Settings]]:
    return [member for member in _members(kind) if isinstance(member, type) and is_dataclass(member)]


def _tag(shape: type[Settings]) -> str:
    """The word that a choice between dataclasses knows this one by: the literal of its first field."""
    return str(get_args(get_type_hints(shape)[fields(shape)[0].name])[0])


def _words(kind: Any) -> str:
    """``kind`` as a reader would say it."""
    simple = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "text",
        Path: "a path",
        type(None): "null",
    }
    if kind in simple:
        return simple[kind]
    members = _members(kind)
    if len(members) > 1:
        return " or ".join(_words(member) for member in members)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin is tuple and Ellipsis not in arguments:
        return f"a list of {len(arguments)}, each {_words(arguments[0])}"
    if origin in (tuple, list) or (isinstance(origin, type) and origin is Sequence):
        return f"a list, each {_words(arguments[0])}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"keys, each with {_words(arguments[1])}"
    return "keys and values" if is_dataclass(kind) else getattr(kind, "__name__", str(kind))


def _shown(value: Plain) -> str:
    if value is None:
        return "nothing"
    return "a list" if isinstance(value, list) else "keys and values" if isinstance(value, dict) else repr(value)
