"""Objects and rows of files, each with its place, so that what is wrong with one is said in one sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mm_kptm.errors import UserError

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]
Value = TypeVar("Value", str, int, float, list[Json], dict[str, Json])
_KINDS = {str: "a text", int: "a whole number", float: "a number", list: "a list", dict: "an object"}


@dataclass(frozen=True)
class Record:
    """An object of a file, and what to call it in messages."""

    values: Mapping[str, Json]
    place: str

    @classmethod
    def of(cls, value: Json, place: str) -> Record:
        """A value that must be an object; ``UserError`` if it is none."""
        if not isinstance(value, dict):
            raise UserError(f"{place} must be an object, but it is {shown(value)}")
        return cls(value, place)

    def get(self, key: str, kind: type[Value]) -> Value:
        """The value under a key; ``UserError`` if it is missing or of another kind."""
        if key not in self.values:
            raise UserError(f"{self.place} has no {key!r}; it has {', '.join(self.values) or 'nothing'}")
        return expected(self.values[key], kind, f"{self.place}: {key!r}")

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts, at least one."""
        listed = self.get(key, list)
        if not listed:
            raise UserError(f"{self.place}: {key!r} is empty; at least one text was expected")
        return tuple(expected(value, str, f"{self.place}: {key}[{at}]") for at, value in enumerate(listed))

    def numbers(self, key: str, count: int) -> tuple[float, ...]:
        """A list of so many numbers."""
        listed = self.get(key, list)
        if len(listed) != count:
            raise UserError(f"{self.place}: {key!r} must hold {count} numbers, but it is {shown(listed)}")
        return tuple(expected(value, float, f"{self.place}: {key}[{at}]") for at, value in enumerate(listed))

    def records(self, key: str) -> list[Record]:
        """The objects of a list, at least one."""
        listed = self.get(key, list)
        if not listed:
            raise UserError(f"{self.place}: {key!r} is empty; at least one entry was expected")
        return [Record.of(value, f"{self.place}, {key}[{at}]") for at, value in enumerate(listed)]

    def name(self, *keys: str) -> str:
        """A number or a text under the first of the keys that is there, as text."""
        key = next((key for key in keys if key in self.values), keys[0])
        if isinstance(value := self.values.get(key), int) and not isinstance(value, bool):
            return str(value)
        return self.get(key, str)


def expected(value: Json, kind: type[Value], place: str) -> Value:
    """The value, if it is of that kind; a whole number is a number too."""
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise UserError(f"{place} must be {_KINDS[kind]}, but it is {shown(value)}")
    return value


def read_text(path: str | Path, kind: str) -> str:
    """What a text file holds.

    Args:
        kind: for messages, ``a JSON file`` say.

    Raises:
        UserError: no such file, empty, or no UTF-8.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} was to be read, but there is no such file")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no UTF-8 text: byte {error.start} cannot be read") from None
    if not text.strip():
        raise UserError(f"{path} is empty; {kind} was expected")
    return text


def read_json(path: str | Path) -> Json:
    """What a JSON file holds; ``UserError`` as :func:`read_text`, and if it is no JSON."""
    return _parsed(read_text(path, "a JSON file"), str(path))


def read_lines(path: str | Path) -> list[Record]:
    """One JSON object a line; lines that are blank are passed over.

    Raises:
        UserError: as :func:`read_text`; a line is no JSON, or no object.
    """
    lines = read_text(path, "a file of one JSON object a line").split("\n")
    places = [(line, f"{path}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]
    return [read_line(line, place) for line, place in places]


def read_line(line: str, place: str) -> Record:
    """The JSON object of one line; ``UserError`` if it is no JSON, or no object."""
    return Record.of(_parsed(line, place, whole=False), place)


def read_listed(path: str | Path) -> list[Record]:
    """The objects of a file that holds one list of them; ``UserError`` if it holds anything else, or none."""
    listed = read_json(path)
    if not isinstance(listed, list) or not listed:
        raise UserError(f"{path} must hold a list of at least one object, but it is {shown(listed)}")
    return [Record.of(value, f"{path}, entry {at}") for at, value in enumerate(listed)]


def read_table(path: str | Path) -> list[tuple[list[str], str]]:
    """The cells of every line, cut at tabs alone, with the place of the line; blank lines are passed over."""
    lines = read_text(path, "a table of cells between tabs").split("\n")
    places = [(line.rstrip("\r"), f"{path}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]
    return [(line.split("\t"), place) for line, place in places]


def once(id_: int | str, place: str, seen: dict[str, str], what: str) -> None:
    """Refuse what was there before; ``seen`` remembers where."""
    if (first := seen.setdefault(str(id_), place)) != place:
        raise UserError(f"{place}: {what} {id_} is there twice, first at {first}")


def one_of(value: str, known: Sequence[str], place: str) -> str:
    """The value, if it is among those known."""
    if value not in known:
        raise UserError(f"{place} must be one of {', '.join(known)}, but it is {shown(value)}")
    return value


def shown(value: Json) -> str:
    """A value as it stands in a message: not all of it."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _parsed(text: str, place: str, *, whole: bool = True) -> Json:
    try:
        value: Json = json.loads(text)
    except json.JSONDecodeError as error:
        where = f"{place}, line {error.lineno}, column {error.colno}" if whole else f"{place}, column {error.colno}"
        raise UserError(f"{where}: no valid JSON: {error.msg}") from None
    except RecursionError:
        raise UserError(f"{place} nests too deep to be read") from None
    return value
