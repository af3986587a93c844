"""Reading JSON that somebody may have edited: every complaint names the file, the line or place, and the key."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from mm_kptm.errors import UserError

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

_KINDS = {dict: "an object", list: "a list", bool: "true or false", type(None): "null"}


class Fields:
    """The fields of one JSON object, asked for by key and kind.

    ``place`` says where the object stands, as a reader would look for it: ``metrics.jsonl, line 3``.
    """

    def __init__(self, value: Json, place: str) -> None:
        if not isinstance(value, dict):
            raise UserError(f"{place}: expected an object, found {_word(value)}")
        self.values = value
        self.place = place

    def has(self, key: str) -> bool:
        return self.values.get(key) is not None

    def text(self, key: str, default: str | None = None) -> str:
        """A text; a number is taken as its digits, for ids and labels are often numbers."""
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise self._wrong(key, "a text", value)
        return str(value)

    def number(self, key: str, default: float | None = None) -> float:
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self._wrong(key, "a finite number", value)
        return float(value)

    def share(self, key: str, default: float | None = None) -> float:
        """A number between 0 and 1."""
        value = self.number(key, default)
        if not 0 <= value <= 1:
            raise self._wrong(key, "a share between 0 and 1", value)
        return value

    def whole(self, key: str, default: int | None = None) -> int:
        value = self.number(key, default)
        if not value.is_integer() or value < 0:
            raise self._wrong(key, "a whole number of 0 or more", value)
        return int(value)

    def truth(self, key: str, default: bool | None = None) -> bool:
        value = self._value(key, default)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false", value)
        return value

    def items(self, key: str) -> list[Json]:
        """A list; a key that is not there is an empty one."""
        value = self._value(key, [])
        if not isinstance(value, list):
            raise self._wrong(key, "a list", value)
        return value

    def objects(self, key: str) -> "Iterator[Fields]":
        """The objects of a list, each knowing its place in it."""
        for number, item in enumerate(self.items(key)):
            yield Fields(item, f"{self.place}, {key}[{number}]")

    def _value(self, key: str, default: Json) -> Json:
        value = self.values.get(key)
        if value is not None:
            return value
        if default is None:
            known = ", ".join(sorted(self.values)) or "none"
            raise UserError(f"{self.place}: the key '{key}' is missing; the keys found are: {known}")
        return default

    def _wrong(self, key: str, wanted: str, value: Json) -> UserError:
        return UserError(f"{self.place}: '{key}' must be {wanted}, found {_word(value)}")


def read_json(path: Path) -> Json:
    """The content of a JSON file."""
    try:
        return _parsed(read_text(path))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {error.lineno}: this is no valid JSON ({error.msg.lower()})") from None


def read_lines(path: Path) -> Iterator[Fields]:
    """The objects of a JSON Lines file; empty lines are passed over."""
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            yield Fields(_parsed(line), f"{path}, line {number}")
        except json.JSONDecodeError as error:
            raise UserError(f"{path}, line {number}: this is no valid JSON ({error.msg.lower()})") from None


def read_text(path: Path) -> str:
    """The content of a text file."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path} was asked for, but there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as text: {error}") from None


def _parsed(text: str) -> Json:
    value: Json = json.loads(text)
    return value


def _word(value: Json) -> str:
    """A value as a reader would name it: numbers and texts by themselves, the rest by kind."""
    if isinstance(value, str):
        return f"the text '{value[:40]}'"
    return _KINDS.get(type(value)) or f"{value}"
