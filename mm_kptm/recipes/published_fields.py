"""Fields of published configurations that a builder has no part for."""

from collections.abc import Mapping, Sequence
from typing import Any

from mm_kptm.errors import UserError


def check_fields(system: str, config: Mapping[str, Any], builds: Mapping[str, Sequence[Any]]) -> None:
    """Refuse a configuration that asks for something other than what is built.

    Args:
        system: whose configuration it is, for the message.
        config: published fields; those that are absent ask for nothing.
        builds: values that every field may have.

    Raises:
        UserError: a field has another value.

    >>> check_fields("bert", {"is_decoder": True}, {"is_decoder": [False]})
    Traceback (most recent call last):
    mm_kptm.errors.UserError: the configuration says is_decoder=True, but bert is built with is_decoder=False only
    """
    for name, values in builds.items():
        if name in config and config[name] not in values:
            known = " or ".join(repr(value) for value in values)
            raise UserError(
                f"the configuration says {name}={config[name]!r}, but {system} is built with {name}={known} only"
            )
