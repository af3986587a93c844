"""Compilation of layers: one graph for each class of layers, whatever the lengths of the sequences.

Only layers are compiled, where nearly all time goes; what a batch decides (which rows, which sequences) stays outside,
and attention is one operator inside (:mod:`mm_kptm.nn.kernels.operator`). All layers of one class and size share a
graph, so that compilation takes as long for 24 of them as for one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from mm_kptm.nn.attention import Attention
from mm_kptm.nn.ragged import AttentionLayout
from mm_kptm.nn.sublayers import AttentionSublayer, FeedForwardSublayer, Layer
from mm_kptm.train.layers import layers_of

BACKEND = "inductor"  #: compiler of the graphs
_MAX_GRAPHS = 64  #: of one class: by sizes, training or not, all rows or some; torch goes on without compiling past it


class _Compiled:
    """Compiled forward pass of a layer.

    Stands in place of the method of one module.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._attentions = [part for part in module.modules() if isinstance(part, Attention)]
        self._forward = compiled(type(module))  # type: ignore[arg-type]  # a class can be hashed

    def __call__(self, x: Tensor, *inputs: Any, **named: Any) -> Any:
        if torch.compiler.is_compiling():
            return type(self._module).forward(self._module, x, *inputs, **named)
        for attention_layout in (*inputs, *named.values()):
            if isinstance(attention_layout, AttentionLayout):
                self._lower(x, attention_layout)
        return self._forward(self._module, x, *inputs, **named)

    def _lower(self, x: Tensor, attention_layout: AttentionLayout) -> None:
        """Make outside of the graph what attention reads of a layout."""
        if not self._attentions:
            return
        one = self._attentions[0]
        kind = x.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else one.query.weight.dtype
        head_dim = one.query.out_features // one.num_heads
        dropout = one.training and any(part.dropout > 0 for part in self._attentions)
        attention_layout.prepare(attention_layout.kernel(x.device, dtype, head_dim=head_dim, dropout=dropout), x.device)


@cache
def compiled(kind: type[nn.Module]) -> Callable[..., Any]:
    """The compiled forward pass of a class of layers, whose first argument is the layer."""
    return torch.compile(kind.forward, dynamic=True, backend=BACKEND)


@contextmanager
def compiled_layers(model: nn.Module, *, enabled: bool = True) -> Iterator[None]:
    """Context manager: compile the forward pass of every layer of ``model``.

    A layer is compiled as a whole where it is a :class:`~mm_kptm.nn.sublayers.Layer`; of other layers, such as those
    that join two streams, the sublayers are.
    """
    if not enabled:
        yield
        return
    whole = compilable_parts(model)
    for module in whole:
        module.forward = _Compiled(module)  # of this module alone
    try:
        shapes = import_module("torch.fx.experimental._config")
        with (
            torch._dynamo.config.patch(recompile_limit=_MAX_GRAPHS),
            # numbers of rows, of sequences and of calls that happen to be equal in the first batch are not so in others
            shapes.patch(use_duck_shape=False),
        ):
            yield
    finally:
        for module in whole:
            del module.forward  # the method of the class shows again


def compilable_parts(model: nn.Module) -> list[nn.Module]:
    """The largest parts of the layers of a model that map rows to rows under an attention layout."""
    return list(dict.fromkeys(part for layer in layers_of(model) for part in _outermost(layer)))


def _outermost(module: nn.Module) -> Iterator[nn.Module]:
    """The largest parts of a module that can be compiled."""
    if isinstance(module, Layer | AttentionSublayer | FeedForwardSublayer):
        yield module
        return
    for child in module.children():
        yield from _outermost(child)
