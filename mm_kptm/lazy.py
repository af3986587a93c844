"""Public names of a package that are imported when they are first used, so that importing the package stays light."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def lazy(package: str, homes: Mapping[str, Sequence[str]], *, rooms: Sequence[str] = ()) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package (PEP 562).

    Args:
        package: its ``__name__``.
        homes: public names by the module of the package that defines them.
        rooms: packages inside it that are public as such.

    >>> lazy("mm_kptm", {"errors": ["UserError"]})("UserError").__name__
    'UserError'
    """
    where = {name: home for home, names in homes.items() for name in names}

    def find(name: str) -> Any:
        if name in where:
            return getattr(import_module(f"{package}.{where[name]}"), name)
        if name in rooms:
            return import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find
