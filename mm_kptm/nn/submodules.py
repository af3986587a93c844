"""Typed access to submodules by path."""

from typing import TypeVar

from torch import nn

from mm_kptm.errors import UserError

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def submodule(module: nn.Module, path: str, kind: type[ModuleT]) -> ModuleT:
    """The submodule at a path, such as the word table ``embed.text.word`` that a head shares with its encoder.

    >>> submodule(nn.Sequential(nn.Linear(2, 3)), "0", nn.Linear).out_features
    3

    Raises:
        UserError: there is no such part, or it is of another class.
    """
    try:
        part = module.get_submodule(path)
    except AttributeError as error:
        raise UserError(
            f"the {kind.__name__} {path} is read, but this {type(module).__name__} has no such part"
        ) from error
    if not isinstance(part, kind):
        raise UserError(
            f"{path} of this {type(module).__name__} is read as {kind.__name__}, but it is a {type(part).__name__}"
        )
    return part
