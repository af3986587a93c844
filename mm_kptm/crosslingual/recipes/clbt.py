"""CLBT: an encoder whose last states are mapped to the space of another one (Wang et al. 2019)."""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor, nn

from mm_kptm.adaptation.layer_stack import in_layer_stack
from mm_kptm.crosslingual.alignment.contextual_maps import (
    AttentionMap,
    FeedForwardMap,
    LinearMap,
    unrestricted,
)
from mm_kptm.errors import UserError
from mm_kptm.models.single import SingleStream
from mm_kptm.nn.attention import Attention
from mm_kptm.nn.ragged import AttentionLayout
from mm_kptm.systems.discovery import find, heads_of
from mm_kptm.systems.recipe import Addition
from mm_kptm.systems.system import System

PAPER = "Wang et al. 2019, Cross-Lingual BERT Transformation for Zero-Shot Dependency Parsing, EMNLP, arXiv:1909.06775"


_ATTENTION = "self-attention"
Kind = Literal["linear", "feed-forward", "self-attention", "linear-self-attention", "feed-forward-self-attention"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class MappedLayer(nn.Module):
    """The last layer of an encoder with a map behind it."""

    def __init__(self, layer: nn.Module, mapping: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.mapping = mapping

    def forward(self, x: Tensor, attention_layout: AttentionLayout) -> Tensor:
        """The mapped states of the wanted rows of [T, D]; a map with attention needs the others as well."""
        if isinstance(self.mapping, AttentionMap):
            return self.mapping(self.layer(x, unrestricted(attention_layout)), attention_layout)
        mapped: Tensor = self.mapping(self.layer(x, attention_layout))
        return mapped


def mapped(
    encoder: SingleStream,
    *,
    kind: Kind = "linear",
    hidden_dim: int = 0,
    num_layers: int = 2,
    activation: Literal["leaky_relu", "tanh"] = "leaky_relu",
    num_blocks: int = 1,
) -> SingleStream:
    """The same stream with a map behind its last layer; a linear one is at first the identity.

    Args:
        encoder: its parts are shared.
        kind: linear without bias, linear layers with a non-linearity between them, attention blocks, or one of the
            former before the latter.
        hidden_dim: width between the layers of the latter; that of the encoder where it is 0.
        num_layers: of the latter.
        activation: of the latter.
        num_blocks: attention blocks, with as many heads as the encoder's last layer.

    Raises:
        UserError: another kind.
    """
    if kind not in KINDS:
        raise UserError(f"a contextual map is one of {', '.join(KINDS)}, not {kind!r}")
    *layers, last = encoder.layers
    before: nn.Module | None = None
    if kind.startswith("linear"):
        before = LinearMap(encoder.dim)
    elif kind.startswith("feed-forward"):
        hidden_dim = hidden_dim or encoder.dim
        before = FeedForwardMap(encoder.dim, hidden_dim=hidden_dim, num_layers=num_layers, activation=activation)
    mapping = before
    if kind.endswith(_ATTENTION):
        heads = next((part.num_heads for part in last.modules() if isinstance(part, Attention)), 1)
        mapping = AttentionMap(encoder.dim, num_heads=heads, num_blocks=num_blocks, before=before)
    assert mapping is not None
    return SingleStream(encoder.embed, [*layers, MappedLayer(last, mapping)], encoder.pooler, dim=encoder.dim)


def mapping_of(system: System) -> nn.Module:
    """The map behind an encoder.

    Raises:
        UserError: there is none.
    """
    found = [module for module in system.encoder.modules() if isinstance(module, MappedLayer)]
    if not found:
        raise UserError(f"this {system.recipe} has no contextual map; `mm-kptm align` adds one")
    return found[-1].mapping


def take_heads(system: System, target: System) -> None:
    """Give a mapped encoder the heads and the pooler of the one whose space it is mapped to, in place of its own.

    Raises:
        UserError: one of them has no such pooler as the other.
    """
    ours, theirs = (getattr(one.encoder, "pooler", None) for one in (system, target))
    if type(ours) is not type(theirs):
        raise UserError(
            f"{system.recipe} and {target.recipe} pool their states in different ways, so that heads of one cannot "
            "read the other; take encoders of one family"
        )
    if isinstance(ours, nn.Module) and isinstance(theirs, nn.Module):
        ours.load_state_dict(theirs.state_dict())
    known = heads_of(find(system.recipe))
    system.heads = nn.ModuleDict({name: head for name, head in target.heads.items() if name in known})
    system.head_sizes = {name: target.head_sizes[name] for name in system.heads}
    system.labels = {name: labels for name, labels in target.labels.items() if name in system.heads}


CONTEXTUAL_MAP = Addition("contextual-map", PAPER, in_layer_stack(mapped))
