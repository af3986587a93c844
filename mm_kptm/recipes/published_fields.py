"""Checks of published configuration fields that a builder does not support."""

from collections.abc import Mapping, Sequence
from typing import Any

from mm_kptm.errors import UserError


def check_fields(system: str, config: Mapping[str, Any], builds: Mapping[str, Sequence[Any]]) -> None:
    """Reject a configuration whose fields differ from what is built.

    Args:
        system: name of the system, for the message.
        config: published fields; absent ones are not checked.
        builds: supported values of every field.

    Raises:
        UserError: a field has an unsupported value.

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
