"""Activation checkpointing: layers keep only their inputs and compute again in the backward pass.

Memory of activations falls from all that a layer computes to its input rows, for about a third more computation (Chen
et al. 2016, Training deep nets with sublinear memory cost). Results do not change: the random state of dropout is
restored for the second computation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from mm_kptm.errors import UserError
from mm_kptm.nn.recurrent.qrnn import QrnnLayer
from mm_kptm.nn.sublayers import AttentionSublayer, FeedForwardSublayer, Layer
from mm_kptm.systems.system import System
from mm_kptm.train.layers import layers_of


class _Outermost:
    """Whether a layer runs inside another checkpointed one, which stores and repeats it already."""

    def __init__(self) -> None:
        self.inside = False


class _Checkpointed:
    """Forward pass of a layer that stores no activations but its input.

    Stands in place of the method of one module.
    """

    def __init__(self, forward: Callable[..., Any], state: _Outermost) -> None:
        self._forward = forward
        self._state = state

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        if self._state.inside or not torch.is_grad_enabled():
            return self._forward(*inputs, **named)
        return checkpoint(self._run, *inputs, use_reentrant=False, **named)

    def _run(self, *inputs: Any, **named: Any) -> Any:
        self._state.inside = True
        try:
            return self._forward(*inputs, **named)
        finally:
            self._state.inside = False


@contextmanager
def checkpointed_activations(model: nn.Module, *, enabled: bool = True) -> Iterator[None]:
    """Context manager: checkpoint the activations of every layer of ``model``.

    Some systems call the sublayers of a layer one by one; these are checkpointed by themselves then.

    Raises:
        UserError: the model has no layers of attention and no quasi-recurrent ones.
    """
    state = _Outermost()
    layers = _checkpointable(model) if enabled else []
    wrapped = list(dict.fromkeys(part for layer in layers for part in (layer, *_sublayers(layer))))
    for module in wrapped:
        module.forward = _Checkpointed(module.forward, state)  # of this module alone
    try:
        yield
    finally:
        for module in wrapped:
            del module.forward  # the method of the class shows again


def _checkpointable(model: nn.Module) -> list[nn.Module]:
    layers = [*layers_of(model), *(part for part in model.modules() if isinstance(part, QrnnLayer))]
    if not layers:
        encoders = {type(part.encoder).__name__: None for part in model.modules() if isinstance(part, System)}
        raise UserError(
            f"train.activation_checkpointing is true, but {' and '.join(encoders) or type(model).__name__} has no "
            "layers of attention and no quasi-recurrent ones to compute again; leave it false"
        )
    return layers


def _sublayers(layer: nn.Module) -> list[nn.Module]:
    return [part for part in layer.modules() if isinstance(part, Layer | AttentionSublayer | FeedForwardSublayer)]
