"""K-Adapter (Wang et al. 2021): small Transformers beside a frozen encoder that read some of its hidden states.

Every set of adapters stores one kind of knowledge and is trained alone; one forward pass of the encoder serves all
sets. To train a set, freeze the rest (``requires_grad_(False)``): the encoder then needs no gradients.

Shapes: T rows of the packed batch, D dim, S sets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import cast

import torch
from torch import Tensor, nn

from mm_kptm.adaptation.layer_stack import Walkable
from mm_kptm.batch import Inputs
from mm_kptm.errors import UserError
from mm_kptm.models.single import SingleStream
from mm_kptm.nn.assembly import Assembled
from mm_kptm.nn.fused import project
from mm_kptm.nn.init import bert_init
from mm_kptm.nn.ragged import AttentionLayout, self_attention_layout
from mm_kptm.nn.steps import Stream
from mm_kptm.nn.sublayers import NormBuilder, bert_layer, bert_norm


class Adapter(nn.Module):
    r"""Adapter layer: down-projection, Transformer layers, up-projection, residual (Wang et al. 2021, section 3.1).

    .. math:: a = u + W_\uparrow\,\mathrm{Enc}(W_\downarrow u)

    Args:
        dim: D.
        width: hidden size of the layers.
        layers: modules called with hidden states [T, width] and their attention layout.
    """

    def __init__(self, dim: int, width: int, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.down = nn.Linear(dim, width)
        self.layers = nn.ModuleList(layers)
        self.up = nn.Linear(width, dim)
        bert_init(self.layers)
        bert_init(self.down, std=2e-4)
        bert_init(self.up, std=2e-4)

    def forward(self, x: Tensor, attention_layout: AttentionLayout) -> Tensor:
        """Adapt hidden states, [T, D] -> [T, D]."""
        narrow = project(self.down, x)
        for layer in self.layers:
            narrow = layer(narrow, attention_layout)
        return x + project(self.up, narrow)


class AdapterSet(nn.Module):
    """Adapters of one kind of knowledge; each reads the encoder's states at its depth plus its predecessor's output.

    Args:
        adapters: from the lowest to the highest depth.
        depths: one per adapter; 0 for the embeddings, k for the output of layer k.
        skip: every ``skip`` adapters, the output of adapter ``count // skip`` (from 0) is added to the result; 0
            disables skip connections. The released code uses this index; a skip of 1 fails there.

    Raises:
        UserError: a skip of 1.
    """

    def __init__(self, adapters: Iterable[Adapter], depths: Sequence[int], *, skip: int = 0) -> None:
        super().__init__()
        self.adapters = nn.ModuleList(adapters)
        self.depths = tuple(depths)
        self.skip = skip
        if skip == 1:
            raise UserError("an adapter_skip of 1 would add an adapter that comes later; give 0 for none, or 2 or more")

    def outputs(self, states: Mapping[int, Tensor], attention_layout: AttentionLayout) -> Iterator[Tensor]:
        """Iterate over the output [T, D] of every adapter, without skip connections."""
        for output, _ in self._walk(states, attention_layout):
            yield output

    def forward(self, states: Mapping[int, Tensor], attention_layout: AttentionLayout) -> Tensor:
        """Output of the last adapter, [T, D], from the encoder's states [T, D] by depth."""
        *_, (_, last) = self._walk(states, attention_layout)
        return last

    def _walk(self, states: Mapping[int, Tensor], attention_layout: AttentionLayout) -> Iterator[tuple[Tensor, Tensor]]:
        """Iterate over (output, output with skip connection), both [T, D]; the next adapter reads the latter."""
        outputs: list[Tensor] = []
        carried: Tensor | None = None
        for depth, adapter in zip(self.depths, self.adapters, strict=True):
            output = adapter(states[depth] if carried is None else states[depth] + carried, attention_layout)
            outputs.append(output)
            carried = output
            if self.skip and len(outputs) % self.skip == 0:
                carried = output + outputs[len(outputs) // self.skip]
            yield output, carried


class Added(nn.Module):
    """Sum of the encoder's final states and the output of every adapter set."""

    def forward(self, final: Tensor, outputs: Mapping[str, Tensor]) -> Tensor:
        """Fuse the encoder's final states [T, D] and the set outputs [T, D] by name into [T, D]."""
        return torch.stack([final, *outputs.values()]).sum(0)


class Concatenated(nn.Module):
    """Per-set linear map of [encoder; set], then, for several sets, one linear map of their concatenation."""

    def __init__(self, dim: int, sets: Sequence[str]) -> None:
        super().__init__()
        self.each = nn.ModuleDict({name: nn.Linear(2 * dim, dim) for name in sets})
        self.join = nn.Linear(len(sets) * dim, dim) if len(sets) > 1 else nn.Identity()
        bert_init(self)

    def forward(self, final: Tensor, outputs: Mapping[str, Tensor]) -> Tensor:
        """Fuse the encoder's final states [T, D] and the set outputs [T, D] by name into [T, D]."""
        mapped = [project(part, torch.cat([final, outputs[name]], dim=-1)) for name, part in self.each.items()]
        return project(self.join, torch.cat(mapped, dim=-1))


def _visible(attention_layout: AttentionLayout) -> AttentionLayout:
    return attention_layout


def _everything(attention_layout: AttentionLayout) -> AttentionLayout:
    return self_attention_layout(attention_layout.sources)


#: Attention of the adapter layers: the encoder's own mask, or every row of the sequence. The released code does the
#: latter, padding included, so that its results depend on the amount of padding.
SIGHTS: dict[str, Callable[[AttentionLayout], AttentionLayout]] = {"visible": _visible, "everything": _everything}

#: Fusions of the adapter sets with the encoder, by name.
FUSIONS: dict[str, Callable[[int, Sequence[str]], nn.Module]] = {
    "concat": Concatenated,
    "add": lambda dim, sets: Added(),
}


class AdaptedStream(SingleStream):
    """Single stream with adapter sets beside it; its final states are the fusion of encoder and sets.

    Args:
        encoder: source of the embedder, layers and pooler, all shared; has sequential layers, or exposes its
            hidden states at every depth (:class:`~mm_kptm.adaptation.layer_stack.Walkable`).
        sides: the adapter sets by name.
        fusion: one of :data:`FUSIONS`.
        sight: one of :data:`SIGHTS`.

    Raises:
        UserError: an unsupported encoder, no set, a depth beyond the encoder, or an unknown fusion or sight.
    """

    def __init__(
        self, encoder: SingleStream, sides: Mapping[str, AdapterSet], *, fusion: str = "concat", sight: str = "visible"
    ) -> None:
        super().__init__(encoder.embed, encoder.layers, encoder.pooler, dim=encoder.dim)
        own_run = type(encoder).run is not SingleStream.run
        if own_run and not isinstance(encoder, Walkable):
            raise UserError(
                "adapters stand beside an encoder that shows its states layer by layer, which a "
                f"{type(encoder).__name__} does not; put them beside the encoder that it was made of"
            )
        for what, name, known in (("fusion", fusion, FUSIONS), ("adapter_sight", sight, SIGHTS)):
            if name not in known:
                raise UserError(f"{what} is one of {', '.join(known)}, not {name!r}")
        if not sides:
            raise UserError("there is no set of adapters; name at least one")
        for name, side in sides.items():
            if not all(0 <= depth <= len(self.layers) for depth in side.depths):
                raise UserError(
                    f"the {name} adapters read depths {', '.join(map(str, side.depths))}, but this encoder has depths "
                    f"0 to {len(self.layers)}"
                )
        self.host: SingleStream | None = encoder if own_run else None
        self.sides = nn.ModuleDict(sides)
        self.fusion = FUSIONS[fusion](self.dim, tuple(sides))
        self._sight = SIGHTS[sight]

    def hidden_states(self, inputs: Inputs) -> Iterator[Stream]:
        """Iterate over the encoder's states at every depth, then their fusion with the adapter outputs."""
        assembled: Assembled = self.embed(inputs)
        stream = assembled.stream
        states: dict[int, Tensor] = {}
        for depth, x in enumerate(self._states(inputs, assembled)):
            states[depth] = x
            yield stream._replace(x=x)
        yield stream._replace(x=self.fusion(x, self._outputs(states, stream.attention)))

    def adapted(self, inputs: Inputs) -> dict[str, list[Tensor]]:
        """Output of every adapter, [T, D] each, by the name of its set."""
        assembled: Assembled = self.embed(inputs)
        states = dict(enumerate(self._states(inputs, assembled)))
        attention_layout = self._sight(assembled.stream.attention)
        return {name: list(side.outputs(states, attention_layout)) for name, side in self._sets()}

    def beside(self, inputs: Inputs) -> Tensor:
        """Final states of the tokens, [T, D], with the encoder detached: for training the adapter sets alone."""
        assembled: Assembled = self.embed(inputs)
        attention_layout = assembled.stream.attention
        # no no_grad here: autocast would cache detached casts of weights that the task trains
        states = {depth: x.detach() for depth, x in enumerate(self._states(inputs, assembled, detach=True))}
        final: Tensor = self.fusion(states[len(self.layers)], self._outputs(states, attention_layout))
        return final[assembled.text]

    def run(self, inputs: Inputs, assembled: Assembled, last: AttentionLayout) -> Tensor:
        """Final states of the query rows of ``last``; the top layer runs on all rows only where an adapter reads it."""
        attention_layout, top = assembled.stream.attention, len(self.layers)
        read = {depth for _, side in self._sets() for depth in side.depths}
        walk, states = self._states(inputs, assembled), dict[int, Tensor]()
        for depth, x in enumerate(walk if top in read or self.host is not None else islice(walk, top)):
            if depth in read:
                states[depth] = x
        final = last.query_states(x) if depth == top else self.layers[-1](x, last)
        outputs = self._outputs(states, attention_layout)
        fused: Tensor = self.fusion(final, {name: last.query_states(rows) for name, rows in outputs.items()})
        return fused

    def _states(self, inputs: Inputs, assembled: Assembled, *, detach: bool = False) -> Iterator[Tensor]:
        """Iterate over the encoder's states [T, D] by depth; ``detach`` cuts gradients between layers if possible."""
        if isinstance(self.host, Walkable):
            yield from self.host.states(inputs, assembled)
            return
        x, attention_layout = assembled.stream.x, assembled.stream.attention
        yield x
        for layer in self.layers:
            x = layer(x.detach() if detach else x, attention_layout)
            yield x

    def _outputs(self, states: Mapping[int, Tensor], attention_layout: AttentionLayout) -> dict[str, Tensor]:
        attention_layout = self._sight(attention_layout)
        return {name: side(states, attention_layout) for name, side in self._sets()}

    def _sets(self) -> Iterable[tuple[str, AdapterSet]]:
        return cast("Iterable[tuple[str, AdapterSet]]", self.sides.items())


def published_depths(num_layers: int) -> tuple[int, ...]:
    """Depths of the released adapters, scaled to ``num_layers``: 0, 11/24 and 22/24 of the layers.

    >>> published_depths(12)
    (0, 5, 11)
    """
    return tuple(num_layers * depth // 24 for depth in (0, 11, 22))


def adapt(
    encoder: SingleStream,
    sets: Sequence[str],
    *,
    depths: Sequence[int] | None = None,
    width: int = 768,
    num_heads: int = 12,
    num_layers: int = 2,
    ffn_dim: int | None = None,
    skip: int = 0,
    norm: NormBuilder = bert_norm,
    dropout: float = 0.1,
    fusion: str = "concat",
    sight: str = "visible",
) -> AdaptedStream:
    """Add adapter sets with fresh weights to an encoder: RoBERTa, or UNITER with regions after the text.

    Args:
        encoder: any that :class:`AdaptedStream` supports.
        sets: names of the adapter sets.
        depths: of the adapters in every set; default :func:`published_depths`.
        width: hidden size of the Transformer in every adapter.
        num_heads: attention heads of that Transformer.
        num_layers: number of its layers.
        ffn_dim: width of its feed-forward layers; four times ``width`` unless given.
        skip: as for :class:`AdapterSet`.
        norm: builder of its norms.
        dropout: its dropout probability.
        fusion: as for :class:`AdaptedStream`.
        sight: as for :class:`AdaptedStream`.

    Raises:
        UserError: as :class:`AdapterSet` and :class:`AdaptedStream`.
    """
    if depths is None:
        depths = published_depths(len(encoder.layers))

    def layers() -> Iterator[nn.Module]:
        for _ in range(num_layers):
            yield bert_layer(width, num_heads, ffn_dim=ffn_dim, dropout=dropout, norm=norm)

    sides = {
        name: AdapterSet([Adapter(encoder.dim, width, layers()) for _ in depths], depths, skip=skip) for name in sets
    }
    return AdaptedStream(encoder, sides, fusion=fusion, sight=sight)
