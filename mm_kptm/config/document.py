"""YAML text as a tree whose nodes know their file and line.

Nodes are mappings or scalars (anything else); ``place`` is the file and line, or the option, that a node came from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import yaml

from mm_kptm.errors import UserError

Plain: TypeAlias = "bool | int | float | str | list[Plain] | dict[str, Plain] | None"


MAX_DEPTH = 64  #: levels of nesting
MAX_NODES = 100_000  #: keys and values of one file


class NotYamlError(UserError):
    """Text that is no YAML."""


@dataclass(frozen=True)
class ScalarNode:
    """Value with its source location."""

    value: Plain
    place: str
    text: str | None = None  #: the unparsed scalar: `true` may be a word, 2024 a name


@dataclass(frozen=True)
class MappingNode:
    """Mapping entries with their source location."""

    entries: Mapping[str, MappingNode | ScalarNode]
    place: str


class _Loader(yaml.SafeLoader):
    """Safe YAML loader that reads 1e-3 as a float, as YAML 1.2 does."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\d[\d_]*)(\.\d*)?[eE][-+]?\d+"),
    list("-+0123456789"),
)


def parse(path: Path) -> MappingNode:
    """Parse a file into a tree.

    Raises:
        UserError: the file cannot be read, is no YAML, has a key twice, or repeats parts of itself by aliases.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"the experiment file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = 1 + error.object[: error.start].count(b"\n")
        raise UserError(f"the experiment file {path}, line {line} is not UTF-8; save it in that encoding") from None
    tree = parsed(text, path)
    if tree is None:
        raise UserError(f"the experiment file {path} is empty")
    if isinstance(tree, ScalarNode):
        raise UserError(f"{tree.place}: an experiment file holds keys and values, such as `task: vqa`")
    return tree


def parsed(text: str, source: Path | str) -> MappingNode | ScalarNode | None:
    """Parse YAML text into a tree; None for no value at all.

    Raises:
        UserError: it is no YAML, has a key twice, repeats parts of itself by aliases, nests deeper than
            :data:`MAX_DEPTH` or holds more than :data:`MAX_NODES` values.
    """
    try:
        _check_events(text, source)
        node = yaml.compose(text, _Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise NotYamlError(f"{source}, line {line}: this is not YAML ({error.problem})") from None
    except yaml.YAMLError as error:
        raise NotYamlError(f"{source} is not YAML ({str(error).splitlines()[0]})") from None
    return None if node is None else _tree(node, str(source))


def _check_events(text: str, source: Path | str) -> None:
    """Refuse aliases, deep nesting and endless lists, before memory or time is spent on them."""
    depth = nodes = 0
    for event in yaml.parse(text, _Loader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent):
            raise UserError(f"{source}, line {line}: *{event.anchor} repeats another part; write it out instead")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        nodes += isinstance(event, yaml.NodeEvent)
        if depth > MAX_DEPTH:
            raise UserError(f"{source}, line {line}: brackets nest too deep; {MAX_DEPTH} levels are read")
        if nodes > MAX_NODES:
            raise UserError(f"{source} holds more than {MAX_NODES} values; settings are not that many")


def _tree(node: yaml.Node, source: str) -> MappingNode | ScalarNode:
    """Composed YAML as a tree of mapping and scalar nodes with their source locations."""
    place = f"{source}, line {node.start_mark.line + 1}"
    loader = _Loader("")
    if not isinstance(node, yaml.MappingNode):
        try:
            text = node.value if isinstance(node, yaml.ScalarNode) else None
            return ScalarNode(loader.construct_object(node, deep=True), place, text)
        except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, OverflowError) as error:
            reason = getattr(error, "problem", None) or str(error) or type(error).__name__
            raise UserError(f"{place}: this value cannot be read ({reason})") from None
    entries: dict[str, MappingNode | ScalarNode] = {}
    for key_node, value_node in node.value:
        key = str(key_node.value)
        here = f"{source}, line {key_node.start_mark.line + 1}"
        if key in entries:
            raise UserError(f"{here}: {key} stands here for the second time, first at {entries[key].place}")
        entries[key] = replace(_tree(value_node, source), place=here)
    return MappingNode(entries, place)


def tree_of(value: object, key: str = "") -> MappingNode | ScalarNode:
    """The tree of plain values, such as a dict of settings; ``key`` is the dotted key of ``value``.

    Raises:
        UserError: a key is no text, or a value is of a type that YAML has not.
    """
    place = key or "the experiment"
    if isinstance(value, Mapping):
        entries: dict[str, MappingNode | ScalarNode] = {}
        for name, inner in value.items():
            if not isinstance(name, str):
                raise UserError(f"{place}: keys are text, but {name!r} is a value of type {type(name).__name__}")
            entries[name] = tree_of(inner, f"{key}.{name}" if key else name)
        return MappingNode(entries, place)
    if isinstance(value, tuple | list):
        return ScalarNode([flat(tree_of(inner, f"{place}[{at}]")) for at, inner in enumerate(value)], place)
    if isinstance(value, Path):
        return ScalarNode(str(value), place, str(value))
    if value is None or isinstance(value, bool | int | float | str):
        return ScalarNode(value, place, value if isinstance(value, str) else None)
    raise UserError(
        f"{place}: settings are numbers, text, truth values, lists and dicts, not a value of type "
        f"{type(value).__name__}"
    )


def split(override: str) -> tuple[list[str], MappingNode | ScalarNode]:
    """Split an override such as ``--train.steps=10`` into its key path and value."""
    option, equals, text = override.partition("=")
    keys = option.removeprefix("--").split(".")
    if not option.startswith("--") or not equals or not all(keys):
        raise UserError(f"{override} is no override; write it like --train.steps=10")
    try:
        tree = parsed(text, option)
    except NotYamlError:
        raise UserError(f"{option}: the value {text[:40]!r} is not YAML") from None
    return keys, ScalarNode(None, option) if tree is None else replace(tree, place=option)


def lay(
    tree: MappingNode | ScalarNode | None, keys: Sequence[str], value: MappingNode | ScalarNode, place: str
) -> MappingNode:
    """Copy of ``tree`` with ``value`` set at the key path ``keys``."""
    entries = dict(tree.entries) if isinstance(tree, MappingNode) else {}
    key, *rest = keys
    entries[key] = lay(entries.get(key), rest, value, place) if rest else value
    return MappingNode(entries, tree.place if isinstance(tree, MappingNode) else place)


def flat(entry: MappingNode | ScalarNode) -> Plain:
    """Plain values of a node, without source locations."""
    if isinstance(entry, ScalarNode):
        return entry.value
    return {key: flat(value) for key, value in entry.entries.items()}
