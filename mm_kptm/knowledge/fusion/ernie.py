"""ERNIE's fusion: encoder layers that mix every token, or region, with its linked entity (Zhang et al. 2019).

Only linked entities are stored. They attend to each other without a mask, and tokens without an entity are unaffected.
Fusion extends the layers of any single-stream encoder and shares their weights, so that a checkpoint of the plain
encoder fills all parameters but :attr:`FusedStream.fusions`.

Shapes: T rows of the batch, Q queried rows, L linked rows, D dim, E entity dim, F feed-forward dim.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mm_kptm.batch import NO_ROWS, Entities, Inputs, Rows, SequenceLayout
from mm_kptm.batch.rows import copied, on_host
from mm_kptm.errors import UserError
from mm_kptm.models.single import SingleStream
from mm_kptm.nn.assembly import Assembled
from mm_kptm.nn.fused import project
from mm_kptm.nn.init import bert_init
from mm_kptm.nn.ragged import AttentionLayout, self_attention_layout
from mm_kptm.nn.steps import Stream
from mm_kptm.nn.sublayers import AttentionSublayer, FeedForwardSublayer, Layer, attention_sublayer, bert_norm

KINDS = ("sim", "mix", "norm")  #: released names: a plain layer, one that mixes, one that attends and mixes


class LinkedEntities(NamedTuple):
    """Linked entities of a batch and their rows."""

    x: Tensor  #: [L, E]
    rows: Tensor  #: ascending, [L]
    attention_layout: AttentionLayout  #: attention among the entities of a sequence

    @classmethod
    def of(cls, inputs: Inputs, assembled: Assembled, entity_dim: int) -> LinkedEntities:
        """Linked tokens and regions of a batch.

        The first row of a sequence always counts, with a zero vector if it has no entity. This is the released code's
        rule for ``[CLS]``: every sequence then has an entity to attend to.

        Raises:
            UserError: there is not one entity per token or region, or the vectors have another width.
        """
        stream = assembled.stream
        device, host = stream.x.device, torch.device("cpu")
        taken = stream.layout.offsets_in_sequence(host) == 0
        grid = stream.x.new_zeros(len(taken), entity_dim)
        for part, what, entities in (
            (assembled.text, "token", inputs.entities),
            (assembled.parts.get("regions", NO_ROWS), "region", inputs.region_entities),
        ):
            if entities is None:
                continue
            places = torch.arange(len(taken))[_on_host(part)]
            _check(entities, len(places), entity_dim, what)
            linked = on_host(entities.linked).bool().nonzero().squeeze(1)
            at = places[linked]
            taken[at] = True
            grid[copied(at, device)] = entities.vectors[copied(linked, device)].to(grid.dtype)
        numbers = taken.nonzero().squeeze(1)
        counts = torch.bincount(stream.layout.sequence_ids(host)[numbers], minlength=len(stream.layout))
        rows = copied(numbers, device)
        return cls(grid[rows], rows, self_attention_layout(SequenceLayout(tuple(counts.tolist()))))

    def asked(self, last: AttentionLayout) -> LinkedEntities:
        """Entities at the queried rows of ``last``, as queries; they still attend to all entities."""
        if last.query_rows is None:
            return self
        rows, queries, device = on_host(self.rows), on_host(last.query_rows), self.rows.device
        kept = torch.isin(rows, queries).nonzero().squeeze(1)
        places = torch.searchsorted(queries, rows[kept])
        return LinkedEntities(
            self.x, copied(places, device), self.attention_layout.restrict_queries(copied(kept, device))
        )


def _on_host(rows: Rows) -> Rows:
    return rows if isinstance(rows, slice) else on_host(rows)


class FusionSublayer(nn.Module):
    r"""Fusion of every token with its entity (Zhang et al. 2019, eq. 3).

    .. math::
        h_j &= \sigma(W_t w_j + W_e e_j + b) \\
        w'_j &= \mathrm{LN}(w_j + W'_t h_j + b_t), \quad e'_j = \mathrm{LN}(e_j + W'_e h_j + b_e)

    Where nothing is linked the entity is zero; the released code still adds the bias of :math:`W_e`, which the paper's
    eq. 4 omits. The token half is the feed-forward sublayer of the fused layer.
    """

    def __init__(self, ffn: FeedForwardSublayer, entity_dim: int) -> None:
        super().__init__()
        ffn_dim = ffn.up_proj.out_features
        self.ffn = ffn
        self.entity_in = nn.Linear(entity_dim, ffn_dim)
        self.entity_out = nn.Linear(ffn_dim, entity_dim)
        self.entity_norm = bert_norm(entity_dim)

    def mix(self, x: Tensor, entities: Tensor, rows: Tensor) -> Tensor:
        """Joint hidden state of eq. 3, activation(W_t x + W_e e + b) with e = 0 where no entity is linked, [Q, F]."""
        up_proj = self.ffn.up_proj
        mixed = F.linear(x, up_proj.weight, up_proj.bias + self.entity_in.bias)
        projected = F.linear(entities, self.entity_in.weight)
        return self.ffn.activation(mixed.index_add_(0, rows, projected.to(mixed.dtype)))

    def tokens(self, x: Tensor, mixed: Tensor) -> Tensor:
        """Token output of eq. 3 from x [Q, D] and the joint state [Q, F], [Q, D]."""
        narrowed = project(self.ffn.down_proj, mixed)
        return cast(Tensor, self.ffn.norm(x + self.ffn.drop(narrowed)))

    def entities(self, entities: Tensor, mixed: Tensor) -> Tensor:
        """Entity output of eq. 3 from e [L, E] and the joint state at their rows [L, F], [L, E]."""
        return cast(Tensor, self.entity_norm(entities + self.ffn.drop(project(self.entity_out, mixed))))

    def forward(self, x: Tensor, entities: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [Q, D] and entities [L, E] after fusion."""
        mixed = self.mix(x, entities, rows)
        return self.tokens(x, mixed), self.entities(entities, mixed[rows])


class FusedLayer(nn.Module):
    """Transformer layer with a fused feed-forward half; ``self_attention`` among entities comes first where given."""

    def __init__(self, layer: Layer, self_attention: AttentionSublayer | None, fuse: FusionSublayer) -> None:
        super().__init__()
        self.layer = layer
        self.self_attention = self_attention
        self.fuse = fuse

    def forward(
        self, x: Tensor, attention_layout: AttentionLayout, linked: LinkedEntities
    ) -> tuple[Tensor, LinkedEntities]:
        """Rows [T, D] and linked entities after the layer."""
        x, entities = self._attended(x, attention_layout, linked)
        x, entities = self.fuse(x, entities, linked.rows)
        return x, linked._replace(x=entities)

    def finish(self, x: Tensor, last: AttentionLayout, linked: LinkedEntities) -> Tensor:
        """Queried rows of ``last`` after the layer, [Q, D]; the entities are not needed any more."""
        linked = linked.asked(last)
        x, entities = self._attended(x, last, linked)
        return self.fuse.tokens(x, self.fuse.mix(x, entities, linked.rows))

    def _attended(self, x: Tensor, attention_layout: AttentionLayout, linked: LinkedEntities) -> tuple[Tensor, Tensor]:
        entities = (
            linked.attention_layout.query_states(linked.x)
            if self.self_attention is None
            else self.self_attention(linked.x, linked.attention_layout)
        )
        return self.layer.self_attention(x, attention_layout), entities


class FusedState(NamedTuple):
    """Hidden states of the sequence and its entities at one depth."""

    stream: Stream
    linked: LinkedEntities


class FusedStream(SingleStream):
    """Single stream with some layers fused with entities.

    Args:
        encoder: source of the embedder, layers and pooler, all shared.
        fusions: fused layers by layer index.
        entity_dim: E.
    """

    def __init__(self, encoder: SingleStream, fusions: Mapping[int, FusedLayer], *, entity_dim: int) -> None:
        super().__init__(encoder.embed, encoder.layers, encoder.pooler, dim=encoder.dim)
        self.entity_dim = entity_dim
        self.fusions = nn.ModuleDict({str(number): fused for number, fused in sorted(fusions.items())})
        if fusions:
            # nothing reads the entities of the last fused layer; its output is in checkpoints, but gets no gradient
            unread = fusions[max(fusions)].fuse
            unread.entity_out.requires_grad_(False)
            unread.entity_norm.requires_grad_(False)

    def hidden_states(self, inputs: Inputs) -> Iterator[Stream]:
        """Streams at every depth: embedded, then after each layer."""
        return (state.stream for state in self.fused_states(inputs))

    def fused_states(self, inputs: Inputs) -> Iterator[FusedState]:
        """Hidden states of the sequence and its entities: embedded, then after each layer."""
        return self._depths(inputs, self.embed(inputs))

    def states(self, inputs: Inputs, assembled: Assembled) -> Iterator[Tensor]:
        """Rows [T, D]: embedded, then after each layer."""
        return (state.stream.x for state in self._depths(inputs, assembled))

    def _depths(self, inputs: Inputs, assembled: Assembled) -> Iterator[FusedState]:
        stream = assembled.stream
        linked = LinkedEntities.of(inputs, assembled, self.entity_dim)
        yield FusedState(stream, linked)
        for number in range(len(self.layers)):
            x, linked = self._layer(number, stream.x, stream.attention, linked)
            stream = stream._replace(x=x)
            yield FusedState(stream, linked)

    def run(self, inputs: Inputs, assembled: Assembled, last: AttentionLayout) -> Tensor:
        """Final hidden states of the queried rows of ``last``, [Q, D]."""
        x, attention_layout = assembled.stream.x, assembled.stream.attention
        linked = LinkedEntities.of(inputs, assembled, self.entity_dim)
        final = len(self.layers) - 1
        for number in range(final):
            x, linked = self._layer(number, x, attention_layout, linked)
        if (fused := self._fused(final)) is not None:
            return fused.finish(x, last, linked)
        return cast(Tensor, self.layers[final](x, last))

    def _layer(
        self, number: int, x: Tensor, attention_layout: AttentionLayout, linked: LinkedEntities
    ) -> tuple[Tensor, LinkedEntities]:
        if (fused := self._fused(number)) is not None:
            return cast(tuple[Tensor, LinkedEntities], fused(x, attention_layout, linked))
        return self.layers[number](x, attention_layout), linked

    def _fused(self, number: int) -> FusedLayer | None:
        return cast(FusedLayer, self.fusions[str(number)]) if str(number) in self.fusions else None


def published_kinds(num_layers: int) -> tuple[str, ...]:
    """Layer kinds in the proportions of the released model: plain layers, one that mixes, then layers that also attend.

    >>> published_kinds(12).count("sim"), published_kinds(12).index("mix"), published_kinds(12).count("norm")
    (5, 5, 6)
    """
    plain = max(num_layers // 2 - 1, 0)
    return ("sim",) * plain + ("mix",) + ("norm",) * (num_layers - plain - 1)


def fuse(
    encoder: SingleStream,
    *,
    entity_dim: int = 100,
    entity_heads: int = 4,
    kinds: Sequence[str] | None = None,
    dropout: float = 0.1,
) -> FusedStream:
    """Fuse the layers of an encoder with entities; the new parameters are freshly initialised.

    Args:
        encoder: any single stream of post-norm layers: BERT's, or UNITER's with regions after the text.
        entity_dim: width of the entity vectors.
        entity_heads: heads of the attention among entities.
        kinds: one of :data:`KINDS` per layer, missing ones ``sim``; default :func:`published_kinds`.
        dropout: of the attention among entities; fusion has that of the layer.

    Raises:
        UserError: a kind does not exist, there are more kinds than layers, or a layer has no post-norm FFN.
    """
    kinds = published_kinds(len(encoder.layers)) if kinds is None else kinds
    if len(kinds) > len(encoder.layers):
        raise UserError(
            f"{len(kinds)} layer types are given for {len(encoder.layers)} layers; give at most one a layer"
        )
    fusions = {}
    for number, (kind, layer) in enumerate(zip(kinds, encoder.layers, strict=False)):
        if kind not in KINDS:
            raise UserError(f"layer {number} cannot be of type {kind!r}; there are {', '.join(KINDS)}")
        if kind == "sim":
            continue
        if not isinstance(layer, Layer) or not isinstance(layer.ffn, FeedForwardSublayer):
            raise UserError(f"layer {number} cannot be fused with entities: it has no post-norm feed-forward half")
        self_attention = attention_sublayer(entity_dim, entity_heads, dropout=dropout) if kind == "norm" else None
        sublayer = FusionSublayer(layer.ffn, entity_dim)
        for part in (self_attention, sublayer.entity_in, sublayer.entity_out):
            if part is not None:
                bert_init(part)
        fusions[number] = FusedLayer(layer, self_attention, sublayer)
    return FusedStream(encoder, fusions, entity_dim=entity_dim)


def _check(entities: Entities, rows: int, entity_dim: int, what: str) -> None:
    if len(entities.linked) != rows or len(entities.vectors) != rows:
        raise UserError(
            f"entities stand on the grid of the {what}s, but there are {rows} {what}s, {len(entities.vectors)} entity "
            f"vectors and {len(entities.linked)} linked flags"
        )
    if entities.vectors.shape[1] != entity_dim:
        raise UserError(
            f"the entity vectors are {entities.vectors.shape[1]} wide, but this model reads entities of width "
            f"{entity_dim}; build it with entity_dim={entities.vectors.shape[1]}"
        )
