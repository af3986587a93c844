"""What the type checker is asked to overlook, and why."""

from __future__ import annotations

import re

import pytest

MOST = 25  #: ignored errors in the package
REASON = re.compile(r"#\s*type: ignore\[[\w-]+(, ?[\w-]+)*\]  # \S+")


def unreasoned(source: str) -> list[int]:
    """The numbers of lines that ignore an error without its code or the reason."""
    lines = enumerate(source.splitlines(), start=1)
    return [number for number, line in lines if "type: ignore" in line and not REASON.search(line)]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("x = 1  # type: ignore[assignment]  # torch types it as Any", []),
        ("x = 1  # type: ignore[assignment, arg-type]  # torch types it as Any", []),
        ("x = 1  # type: ignore[assignment]", [1]),
        ("x = 1  # type: ignore  # why not", [1]),
        ("x = 1  # type: ignore[assignment]  #", [1]),
    ],
)
def test_an_ignored_error_needs_its_code_and_a_reason(line, found):
    assert unreasoned(line) == found


def test_every_ignored_error_of_the_package_says_why_and_they_are_few(root):
    sources = {path.relative_to(root): path.read_text() for path in sorted((root / "mm_kptm").rglob("*.py"))}
    assert {str(path): lines for path, source in sources.items() if (lines := unreasoned(source))} == {}
    assert sum(source.count("type: ignore") for source in sources.values()) <= MOST
