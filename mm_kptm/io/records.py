"""JSON objects and table rows with their file and line, which every error message names."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mm_kptm.errors import UserError
from mm_kptm.io.json_items import JsonItems, Malformed, has_surrogate
from mm_kptm.io.text_lines import each_line, is_blank, is_file, read_text

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]
Value = TypeVar("Value", str, int, float, list[Json], dict[str, Json])
T = TypeVar("T")
_HUGE = 10**300  #: whole numbers from here on are no numbers of any data
_KINDS = {str: "a text", int: "a whole number", float: "a number", list: "a list", dict: "an object"}


@dataclass(frozen=True)
class Record:
    """JSON object of a file with its location for messages."""

    values: Mapping[str, Json]
    place: str

    @classmethod
    def of(cls, value: Json, place: str) -> Record:
        """Wrap a value that must be an object; ``UserError`` otherwise."""
        if not isinstance(value, dict):
            raise UserError(f"{place} must be an object, but it is {shown(value)}")
        return cls(value, place)

    def has(self, key: str) -> bool:
        """Whether the key is present and not null."""
        return self.values.get(key) is not None

    def get(self, key: str, kind: type[Value]) -> Value:
        """Value of a key; ``UserError`` if it is missing or of another type."""
        return expected(self._present(key), kind, f"{self.place}: {key!r}")

    def text(self, key: str, default: str | None = None) -> str:
        """String, or a number as a string (ids and labels may be either); ``default`` for a missing or null value."""
        if default is not None and not self.has(key):
            return default
        value = self.values.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return str(value)
        return self.get(key, str)

    def share(self, key: str) -> float:
        """A number between 0 and 1."""
        if not 0 <= (value := self.get(key, float)) <= 1:
            raise self._wrong(key, "a number between 0 and 1")
        return value

    def count(self, key: str) -> int:
        """A whole number of 0 or more, which may be written ``3.0``."""
        value = self._present(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0 or value % 1:
            raise self._wrong(key, "a whole number of 0 or more")
        return int(value)

    def truth(self, key: str, default: bool | None = None) -> bool:
        """Boolean; ``default`` for a missing or null value."""
        if default is not None and not self.has(key):
            return default
        if not isinstance(value := self._present(key), bool):
            raise self._wrong(key, "true or false")
        return value

    def texts(self, key: str, *, blank: bool = False) -> tuple[str, ...]:
        """Non-empty list of strings, none of them blank unless ``blank`` allows it."""
        listed = self.get(key, list)
        if not listed:
            raise UserError(f"{self.place}: {key!r} is empty; at least one text was expected")
        texts = tuple(expected(value, str, f"{self.place}: {key}[{at}]") for at, value in enumerate(listed))
        for at, text in enumerate(texts):
            if not blank and is_blank(text):
                raise UserError(f"{self.place}: {key}[{at}] is blank; a text was expected")
        return texts

    def numbers(self, key: str, count: int) -> tuple[float, ...]:
        """List of exactly ``count`` numbers."""
        listed = self.get(key, list)
        if len(listed) != count:
            raise UserError(f"{self.place}: {key!r} must hold {count} numbers, but it is {shown(listed)}")
        return tuple(expected(value, float, f"{self.place}: {key}[{at}]") for at, value in enumerate(listed))

    def items(self, key: str) -> list[Json]:
        """List of any values; empty for a missing or null value."""
        return self.get(key, list) if self.has(key) else []

    def records(self, key: str, *, allow_none: bool = False) -> list[Record]:
        """The objects of a list, at least one unless ``allow_none``."""
        listed = self.items(key) if allow_none else self.get(key, list)
        if not listed and not allow_none:
            raise UserError(f"{self.place}: {key!r} is empty; at least one entry was expected")
        return [Record.of(value, f"{self.place}, {key}[{at}]") for at, value in enumerate(listed)]

    def name(self, *keys: str) -> str:
        """Number or string under the first key that is present, as a string."""
        key = next((key for key in keys if key in self.values), keys[0])
        if isinstance(value := self.values.get(key), int) and not isinstance(value, bool):
            return str(value)
        name = self.get(key, str)
        if not name.strip():
            raise UserError(f"{self.place}: {key!r} is blank; a name was expected")
        return name

    def _present(self, key: str) -> Json:
        if key not in self.values:
            raise UserError(f"{self.place} has no {key!r}; it has {', '.join(self.values) or 'nothing'}")
        return self.values[key]

    def _wrong(self, key: str, kind: str) -> UserError:
        return UserError(f"{self.place}: {key!r} must be {kind}, but it is {shown(self.values[key])}")


def expected(value: Json, kind: type[Value], place: str) -> Value:
    """Check the type of a value; an int is accepted as a float."""
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < _HUGE else math.inf
    finite = not isinstance(value, float) or math.isfinite(value)
    if not isinstance(value, kind) or isinstance(value, bool) or not finite:
        raise UserError(f"{place} must be {_KINDS[kind]}, but it is {shown(value)}")
    return value


def read_json(path: str | Path) -> Json:
    """Read a JSON file; ``UserError`` as :func:`read_text`, and for invalid JSON."""
    return parse_json(read_text(path, "a JSON file"), str(path))


def read_lines(path: str | Path, *, allow_empty: bool = False) -> list[Record]:
    """Read JSON Lines, one object per line; blank lines are skipped.

    Raises:
        UserError: as :func:`read_text`; a line is no JSON, or no object.
    """
    return list(each_record(path, allow_empty=allow_empty))


def each_record(path: str | Path, *, allow_empty: bool = False) -> Iterator[Record]:
    """Iterate over the objects of :func:`read_lines`, holding one at a time; the same errors."""
    lines = each_line(path, "a file of one JSON object a line", allow_empty=allow_empty)
    return (read_line(line, f"{path}, line {number}") for number, line in enumerate(lines, 1) if line.strip())


def read_line(line: str, place: str) -> Record:
    """Parse the JSON object of one line; ``UserError`` for invalid JSON or another type."""
    return Record.of(parse_json(line, place, whole=False), place)


def read_listed(path: str | Path) -> list[Record]:
    """Read a JSON file that is one non-empty list of objects; ``UserError`` otherwise."""
    return list(each_listed(path))


def each_listed(path: str | Path) -> Iterator[Record]:
    """Iterate over the objects of :func:`read_listed`, holding one at a time; the same errors."""
    number = 0
    for number, value in enumerate(each_item(path), 1):
        yield Record.of(value, f"{path}, entry {number}")
    if not number:
        listed = read_json(path)
        raise UserError(f"{path} must hold a list of at least one object, but it is {shown(listed)}")


def each_entry(path: str | Path, key: str) -> Iterator[Record]:
    """Iterate over the objects in the list under ``key`` of a JSON object, at least one, holding one at a time.

    Raises:
        UserError: as :func:`read_json`; there is no such list, or it is empty or holds something else.
    """
    at = -1
    for at, value in enumerate(each_item(path, key)):
        yield Record.of(value, f"{path}, {key}[{at}]")
    if at < 0:
        Record.of(read_json(path), str(path)).records(key)


def each_item(path: str | Path, key: str | None = None) -> Iterator[Json]:
    """Iterate over the values of a list in a JSON file, one held at a time: of the whole file, or under ``key``.

    What has no such list has no value here.

    Raises:
        UserError: as :func:`read_json`.
    """
    return _streamed(Path(path), lambda items: items.under(key))


def each_pair(path: str | Path) -> Iterator[tuple[str, Json]]:
    """Iterate over the keys and values of a JSON object, holding one at a time.

    Raises:
        UserError: as :func:`read_json`; the file is something else.
    """
    empty = True
    for pair in _streamed(Path(path), JsonItems.pairs):
        empty = False
        yield pair
    if empty:
        Record.of(read_json(path), str(path))


def _streamed(path: Path, part: Callable[[JsonItems], Iterator[T]]) -> Iterator[T]:
    try:
        if is_file(path):
            with JsonItems(path, json.JSONDecoder(object_pairs_hook=_object)) as items:
                yield from part(items)
            return
    except Malformed:
        pass
    read_json(path)  # says what is wrong, and where
    raise UserError(f"{path} cannot be read: it is another file now than when reading began")


def begins_with_list(path: str | Path) -> bool:
    """Whether a JSON file is one list, by its first character; ``UserError`` as :func:`read_text`."""
    for line in each_line(path, "a JSON file"):
        if line.strip():
            return line.lstrip().startswith("[")
    return False


def read_table(path: str | Path) -> list[tuple[list[str], str]]:
    """Read a TSV file: the cells of every line with its location; blank lines are skipped."""
    return list(each_row(path))


def each_row(path: str | Path) -> Iterator[tuple[list[str], str]]:
    """Iterate over the rows of :func:`read_table`, holding one at a time; the same errors."""
    lines = each_line(path, "a table of cells between tabs")
    return ((line.split("\t"), f"{path}, line {number}") for number, line in enumerate(lines, 1) if line.strip())


def once(id_: int | str, place: str, seen: dict[str, str], what: str) -> None:
    """Refuse a duplicate id; ``seen`` maps ids to their first location in the file, which is the same for all."""
    file, comma, where = place.partition(", ")
    if (first := seen.setdefault(str(id_), where)) != where:
        raise UserError(f"{place}: {what} {id_} is there twice, first at {file}{comma}{first}")


def one_of(value: str, known: Sequence[str], place: str) -> str:
    """Check that a value is one of the allowed ones."""
    if value not in known:
        raise UserError(f"{place} must be one of {', '.join(known)}, but it is {shown(value)}")
    return value


def shown(value: Json) -> str:
    """Shortened representation of a value, for messages."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 40 else f"{text[:40]}..."


def parse_json(text: str, place: str, *, whole: bool = True) -> Json:
    """Parse JSON text, the only place where that is done.

    Args:
        text: of a file or a line.
        place: where it stands, for messages.
        whole: whether ``text`` is a whole file, so that lines are counted.

    Raises:
        UserError: it is no JSON, nests too deep, has a key twice in one object, a number of more digits than Python
            converts, or half a character.
    """
    try:
        value: Json = json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        where = f"{place}, line {error.lineno}, column {error.colno}" if whole else f"{place}, column {error.colno}"
        raise UserError(f"{where}: no valid JSON: {error.msg}") from None
    except _Twice as error:
        raise UserError(
            f"{place}{_second(text, error.key, whole)}: the key {error} is there twice in one object"
        ) from None
    except ValueError:  # more digits than Python converts
        raise UserError(f"{place} holds a number of too many digits") from None
    except RecursionError:
        raise UserError(f"{place} nests too deep to be read") from None
    if "\\u" in text and (half := _SURROGATE.search(text)) and has_surrogate(value):
        raise UserError(f"{place} holds {half[0]}, which is half a character; write the whole one")
    return value


class _Twice(ValueError):
    """Key that an object has twice."""

    def __init__(self, key: str) -> None:
        super().__init__(repr(key))
        self.key = key


def _second(text: str, key: str, whole: bool) -> str:
    """The line where a file has a key for the second time, unless other objects may have it too."""
    found = [one.start() for one in re.finditer(rf"{re.escape(json.dumps(key, ensure_ascii=False))}\s*:", text)]
    return f", line {text.count(chr(10), 0, found[1]) + 1}" if whole and len(found) == 2 else ""


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _Twice(next(key for at, key in enumerate(keys) if key in keys[:at]))
    return values


_SURROGATE = re.compile(r"\\u[dD][89abcdefABCDEF][0-9a-fA-F]{2}")
