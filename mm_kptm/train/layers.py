"""Layers of any encoder: which modules they are, and how deep every parameter lies.

A layer is a member of a module list that holds attention: the layers of one stream, the steps of two streams, the
layers of a decoder. They are found by structure, so that a new system needs no entry anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch import nn

from mm_kptm.models.single import SingleStream
from mm_kptm.nn.attention import Attention
from mm_kptm.nn.decoder import Decoder
from mm_kptm.nn.steps import Step
from mm_kptm.nn.sublayers import Layer
from mm_kptm.systems.system import System


class Stack(NamedTuple):
    """Layers that run one after the other."""

    owner: str  #: name of the module that holds them; empty for the whole encoder
    layers: list[nn.Module]


def layers_of(model: nn.Module) -> list[nn.Module]:
    """Every layer of a model once, in the order of registration; layers inside of others too."""
    listed = (child for module in model.modules() for child in _members(module))
    return list(dict.fromkeys(child for child in listed if _is_layer(child)))


class Depths(NamedTuple):
    """Depth of every parameter."""

    of: dict[nn.Parameter, int]  #: 0: embeddings; i: layer i, counted from 1; ``heads``: everything after the layers
    heads: int  #: one more than the number of layers


def parameter_depths(model: nn.Module) -> Depths:
    """Depth of every parameter of a model.

    A decoder stands on its encoder, two towers stand side by side. A step of two streams is one deeper than the deeper
    stream that it reads. Task heads, poolers and what knowledge adds beside the layers count as heads.
    """
    encoders = [part.encoder for part in model.modules() if isinstance(part, System)] or [model]
    of: dict[nn.Parameter, int] = {}
    deepest = 0
    for encoder in encoders:
        deepest = max(deepest, _measure(encoder, of))
    return Depths({parameter: of.get(parameter, deepest + 1) for parameter in model.parameters()}, deepest + 1)


def _measure(encoder: nn.Module, of: dict[nn.Parameter, int]) -> int:
    """Record the depths of the embeddings and layers of an encoder; returns that of its last layer."""
    order = {parameter: place for place, (_, parameter) in enumerate(encoder.named_parameters())}
    reached: dict[str, int] = {}
    begun: set[str] = set()
    for owner, layers in _stacks(encoder):
        fresh = [layer for layer in layers if any(parameter not in of for parameter in layer.parameters())]
        reads_all = isinstance(encoder.get_submodule(owner), Decoder)
        start = max(reached.values(), default=0) if reads_all else reached.get(owner, 0)
        for layer, depth in _counted(fresh, start):
            for parameter in layer.parameters():
                of.setdefault(parameter, depth)
            reached[owner] = max(reached.get(owner, 0), depth)
        first = min((order[parameter] for layer in layers for parameter in layer.parameters()), default=0)
        for path in _prefixes(f"{owner}."):  # what a module has before its first layers, embeds
            if (holder := ".".join(path)) not in begun:
                begun.add(holder)
                for parameter in encoder.get_submodule(holder).parameters():
                    if order[parameter] < first:
                        of.setdefault(parameter, 0)
    return max(reached.values(), default=0)


def _counted(layers: list[nn.Module], start: int) -> Iterator[tuple[nn.Module, int]]:
    """Layers with their depths, above ``start`` others."""
    left = right = start
    for layer in layers:
        reads_left = not isinstance(layer, Step) or getattr(layer, "left", layer) is not None
        reads_right = not isinstance(layer, Step) or getattr(layer, "right", layer) is not None
        depth = 1 + max(left if reads_left else 0, right if reads_right else 0)
        left, right = depth if reads_left else left, depth if reads_right else right
        yield layer, depth


def _stacks(encoder: nn.Module) -> Iterator[Stack]:
    """The outermost lists of layers; of a single stream only its own layers, not what stands beside them."""
    inside: set[nn.Module] = set()
    for name, module in encoder.named_modules():
        layers = [child for child in _members(module) if _is_layer(child)]
        if not layers or module in inside:
            continue
        inside.update(part for layer in layers for part in layer.modules())
        owner = name.rpartition(".")[0]
        above = (encoder.get_submodule(".".join(path)) for path in _prefixes(name))
        if all(not isinstance(holder, SingleStream) or module is holder.layers for holder in above):
            yield Stack(owner, layers)


def _prefixes(name: str) -> list[list[str]]:
    """Paths of the modules that hold the one of that name, the outermost (an empty path) first."""
    path = name.split(".")
    return [path[:length] for length in range(len(path))]


def _members(module: nn.Module) -> list[nn.Module]:
    if isinstance(module, nn.ModuleDict):
        return list(module.values())
    return list(module) if isinstance(module, nn.ModuleList) else []


def _is_layer(module: nn.Module) -> bool:
    """Whether a member of a list is a layer, and not a whole encoder with lists of its own."""
    if isinstance(module, Layer | Step):
        return True
    parts = list(module.modules())
    return any(isinstance(part, Attention) for part in parts) and not any(
        _is_layer(child) for part in parts for child in _members(part)
    )
