"""The templates of the page: HTML and SVG by Jinja2, in which text can never become markup by accident."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mm_kptm.report.tables import percent


def render(template: str, **values: object) -> Markup:
    """A template filled in; every value is escaped unless it was rendered itself."""
    return Markup(_environment().get_template(template).render(values))


def number(value: float, digits: int = 2) -> str:
    """A coordinate: as few characters as its precision needs."""
    return f"{value:.{digits}f}".rstrip("0").rstrip(".") if digits else f"{value:.0f}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("mm_kptm.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "percent": percent}
    return environment
