"""Lists of large JSON files, read value by value."""

from __future__ import annotations

import io
import json
import lzma
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from mm_kptm.io.text_lines import open_bytes

CHUNK = 1 << 18  #: characters that are read at once
_LONGEST_NUMBER = 64  #: characters in which a number that is cut at the end of a chunk may look like a shorter one


class Malformed(Exception):
    """The file is no JSON, or cannot be read; who reads it whole learns why."""


class JsonItems:
    """Context manager around a JSON file of which one list is read, holding one of its values at a time.

    Args:
        path: the file, which may be packed.
        decoder: decodes each value.
    """

    def __init__(self, path: Path, decoder: json.JSONDecoder) -> None:
        self._path, self._decoder = path, decoder
        self._closing = ExitStack()
        self._text, self._at = "", 0

    def __enter__(self) -> Self:
        try:
            file = self._closing.enter_context(open_bytes(self._path))
        except OSError:
            raise Malformed from None
        self._file = io.TextIOWrapper(file, encoding="utf-8-sig")
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def under(self, key: str | None) -> Iterator[Any]:
        """Iterate over the values of the list under ``key`` of an object, or of the whole file for None.

        Where there is no such list, there are no values.

        Raises:
            Malformed: the file is no JSON, has a key twice or half a character; perhaps after some of its values.
        """
        if key is None:
            if self._next() == "[":
                yield from self._list()
                self._end()
        elif self._next() == "{":
            yield from self._object(key)
            self._end()

    def pairs(self) -> Iterator[tuple[str, Any]]:
        """Iterate over the keys and values of the object that the file is; nothing where it is none.

        Raises:
            Malformed: as :meth:`under`.
        """
        if self._next() == "{":
            for name in self._names():
                yield name, self._value()
            self._end()

    def _object(self, key: str) -> Iterator[Any]:
        for name in self._names():
            if name == key and self._next() == "[":
                yield from self._list()
            else:
                self._value()

    def _names(self) -> Iterator[str]:
        """Iterate over the keys of an object, whose values are to be read before the next key."""
        seen: set[str] = set()
        self._at += 1
        if self._next() == "}":
            self._at += 1
            return
        while True:
            name = self._value()
            if not isinstance(name, str) or name in seen or self._next() != ":":
                raise Malformed
            seen.add(name)
            self._at += 1
            yield name
            if self._ends("}"):
                return

    def _list(self) -> Iterator[Any]:
        self._at += 1
        if self._next() == "]":
            self._at += 1
            return
        while True:
            yield self._value()
            if self._ends("]"):
                return

    def _ends(self, bracket: str) -> bool:
        """Read what stands behind a value: a comma, or the bracket that ends the list or object."""
        behind = self._next()
        if behind not in (",", bracket):
            raise Malformed
        self._at += 1
        return behind == bracket

    def _end(self) -> None:
        if self._next():
            raise Malformed

    def _next(self) -> str:
        """The next character that is no blank, which stays to be read; empty at the end of the file."""
        while True:
            while self._at < len(self._text):
                if (character := self._text[self._at]) not in " \t\n\r":
                    return character
                self._at += 1
            if not self._more():
                return ""

    def _value(self) -> Any:
        self._next()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError:
                if not self._more():  # it may have been cut at the end of the chunk
                    raise Malformed from None
                continue
            except (ValueError, RecursionError):
                raise Malformed from None
            if len(self._text) - end < _LONGEST_NUMBER and isinstance(value, int | float) and self._more():
                continue
            if self._text.find("\\u", self._at, end) >= 0 and has_surrogate(value):
                raise Malformed
            self._at = end
            return value

    def _more(self) -> bool:
        """Read on; false at the end of the file."""
        try:
            chunk = self._file.read(max(CHUNK, len(self._text) - self._at))
        except (OSError, EOFError, UnicodeDecodeError, zlib.error, lzma.LZMAError):
            raise Malformed from None
        if chunk:
            self._text, self._at = self._text[self._at :] + chunk, 0
        return bool(chunk)


def has_surrogate(value: Any) -> bool:
    """Whether a text or key inside a value of JSON is half a character, which cannot be encoded."""
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False
