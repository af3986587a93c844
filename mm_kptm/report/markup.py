"""HTML and SVG made of nested calls, in which text can never become markup by accident.

``Markup`` is text that is already safe. ``tag`` makes it, escaping every child and every attribute that is not markup
itself, so what comes from a data file is harmless wherever it ends up.
"""

from collections.abc import Iterable
from html import escape
from typing import TypeAlias

Child: TypeAlias = "str | float | Iterable[Child] | None"
Attribute: TypeAlias = "str | float | bool | None"

_VOID = frozenset({"br", "hr", "img", "link", "meta", "path", "rect", "line", "circle", "polyline", "image"})


class Markup(str):
    """Text that is HTML and is not escaped again."""

    __slots__ = ()


def tag(name: str, *children: Child, **attributes: Attribute) -> Markup:
    """One element. A trailing underscore of an attribute falls away, any other becomes a hyphen.

    An attribute of ``None`` or ``False`` is left out; one of ``True`` stands without a value.

    >>> tag("p", "1 < 2", class_="note")
    '<p class="note">1 &lt; 2</p>'
    """
    opened = name + "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID and not children:
        return Markup(f"<{opened}/>")
    return Markup(f"<{opened}>{join(*children)}</{name}>")


def join(*children: Child) -> Markup:
    """The children one after the other, escaped where they are not markup; ``None`` is nothing."""
    return Markup("".join(_safe(child) for child in children))


def number(value: float, digits: int = 2) -> str:
    """A coordinate: as few characters as its precision needs."""
    return f"{value:.{digits}f}".rstrip("0").rstrip(".") if digits else f"{value:.0f}"


def _safe(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    if isinstance(child, str):
        return escape(child)
    if isinstance(child, int | float):
        return escape(f"{child:g}")
    return "".join(_safe(item) for item in child)


def _attribute(key: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    written = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {written}"
    return f' {written}="{escape(value if isinstance(value, str) else number(value))}"'
