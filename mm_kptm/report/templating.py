"""Jinja2 templates (HTML and SVG) of the page, with autoescaping."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mm_kptm.report.tables import percent


def render(template: str, **values: object) -> Markup:
    """Render a template; values are escaped unless they are ``Markup``."""
    return Markup(_environment().get_template(template).render(values))


def number(value: float, digits: int = 2) -> str:
    """Format a coordinate without trailing zeros."""
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
