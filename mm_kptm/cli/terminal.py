"""Text for terminals: control characters of data are shown as escapes and never sent."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO, cast

#: C0 but tab and newline, DEL, C1, the overrides of the direction of writing, and halves of characters.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def escaped(text: str) -> str:
    r"""Copy of a text with control characters written as in JSON.

    >>> escaped("a\x1b[2J")
    'a\\u001b[2J'
    """
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class EscapingStream:
    """Text stream that escapes control characters; everything else is the stream behind it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text, escaped."""
        return self._stream.write(escaped(text))

    def writelines(self, lines: Any) -> None:
        """Write texts, escaped."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def escaping(stream: TextIO) -> Iterator[None]:
    """Context manager: standard output goes through an :class:`EscapingStream`."""
    with redirect_stdout(cast(TextIO, EscapingStream(stream))):
        yield
