"""Parameters that an experiment leaves as they are."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from mm_kptm.errors import UserError
from mm_kptm.systems.system import System


def freeze(module: nn.Module, patterns: Sequence[str]) -> None:
    """Take the parameters whose names match a pattern out of training; tied ones go by their first name.

    Stages of the literature are such lists: XNLG trains the decoder alone in its second stage (Chi et al. 2020,
    section 2.2), and the self-attention and feed-forward sublayers of the encoder in zero-shot fine-tuning.

    Args:
        module: the system.
        patterns: of names, in which ``*`` stands for anything.

    Raises:
        UserError: a pattern matches no parameter, or nothing is left to train.
    """
    named = dict(module.named_parameters())
    for pattern in patterns:
        found = [name for name in named if fnmatchcase(name, pattern)]
        if not found:
            raise UserError(
                f"encoder.frozen has {pattern!r}, which is no parameter's name; there are "
                f"{', '.join([*named][:3])} and {len(named) - 3} more"
            )
        for name in found:
            named[name].requires_grad_(False)
    if patterns and not any(parameter.requires_grad for parameter in named.values()):
        raise UserError("encoder.frozen leaves nothing to train; take a pattern out, or set train.steps to 0")


def freeze_encoder(system: System, *, loaded: bool) -> None:
    """Keep the encoder as it was loaded; what is added around it afterwards learns.

    Raises:
        UserError: its weights are fresh.
    """
    if not loaded:
        raise UserError(
            "encoder.frozen keeps the encoder as encoder.weights has it, but encoder.weights is null; name a "
            "checkpoint, or leave frozen out"
        )
    system.encoder.requires_grad_(False)
