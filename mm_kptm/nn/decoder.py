"""Transformer decoder: causal self-attention, attention to the source, feed-forward; with a key-value cache.

Shapes: T target rows, S source rows, B sources, K hypotheses, t rows generated of each, D dim, H heads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from mm_kptm.batch import EVERY_ROW, Rows, SequenceLayout, Tokens, row_numbers
from mm_kptm.batch.rows import copied, on_host
from mm_kptm.errors import UserError
from mm_kptm.nn.ragged import AttentionLayout, cross_attention_layout
from mm_kptm.nn.steps import Stream, between
from mm_kptm.nn.sublayers import AttentionSublayer
from mm_kptm.nn.visibility import Causal


@dataclass(frozen=True, eq=False)
class LayerMemory:
    """Key-value cache of one layer."""

    source: tuple[Tensor, Tensor]  #: each [S, H, D / H]
    written: tuple[Tensor, Tensor]  #: each [K, t, H, D / H]


@dataclass(frozen=True, eq=False)
class Memory:
    """Key-value cache of a decoder, for incremental decoding."""

    layers: tuple[LayerMemory, ...]
    attention_layout: AttentionLayout  #: from one row of each hypothesis to its source
    written: int  #: rows generated of each hypothesis, t

    def select(self, parents: Tensor, counts: SequenceLayout) -> Memory:
        """The cache reordered for new hypotheses, each of which continues an old one.

        Args:
            parents: the old hypothesis that each new one continues, in the order of the sources, [K].
            counts: number of hypotheses of each source, as lengths, [B].
        """
        layers = tuple(
            replace(layer, written=(layer.written[0][parents], layer.written[1][parents])) for layer in self.layers
        )
        return replace(self, layers=layers, attention_layout=replace(self.attention_layout, queries=counts))


class DecoderLayer(nn.Module):
    """Decoder layer: self-attention, cross-attention, feed-forward (Vaswani et al. 2017, section 3.1)."""

    def __init__(self, self_attention: AttentionSublayer, cross_attention: AttentionSublayer, ffn: nn.Module) -> None:
        super().__init__()
        self.self_attention = self_attention
        self.cross_attention = cross_attention
        self.ffn = ffn

    def forward(self, x: Tensor, attention_layout: AttentionLayout, source: Stream) -> Tensor:
        """New states of the query rows of ``x`` [T, D]: [Q, D]."""
        x = self.self_attention(x, attention_layout)
        return self.ffn(self.cross_attention(x, between(Stream.of(x, attention_layout.queries), source), source.x))

    def remember(self, source: Tensor, count: int) -> LayerMemory:
        """The cache of ``count`` empty hypotheses over a source [S, D]."""
        key, value = self.cross_attention.attention.offer(source)
        empty = key.new_empty(count, 0, *key.shape[1:])
        return LayerMemory(source=(key, value), written=(empty, empty))

    def step(self, x: Tensor, memory: LayerMemory, attention_layout: AttentionLayout) -> tuple[Tensor, LayerMemory]:
        """States of the next row of every hypothesis, [K, D], and the extended cache."""
        new = self.self_attention.attention.offer(x)
        key, value = (torch.cat([old, row[:, None]], 1) for old, row in zip(memory.written, new, strict=True))
        rows = SequenceLayout((1,) * len(x)), SequenceLayout((key.shape[1],) * len(x))
        x = self.self_attention.add(
            x,
            self.self_attention.attention.read(
                x, key.flatten(0, 1), value.flatten(0, 1), cross_attention_layout(*rows)
            ),
        )
        key_read, value_read = (attention_layout.key_states(part) for part in memory.source)
        x = self.cross_attention.add(x, self.cross_attention.attention.read(x, key_read, value_read, attention_layout))
        return self.ffn(x), replace(memory, written=(key, value))


class Decoder(nn.Module):
    """Embedding and decoder layers; a row attends to itself, earlier rows and the whole source.

    Args:
        embed: from :class:`~mm_kptm.batch.Tokens` to rows [T, D].
        layers: decoder layers, :class:`DecoderLayer`.

    Raises:
        UserError: there is no layer.
    """

    def __init__(self, embed: nn.Module, layers: Iterable[DecoderLayer]) -> None:
        super().__init__()
        self.embed = embed
        self.layers = nn.ModuleList(layers)
        if not self.layers:
            raise UserError("a decoder needs at least one layer, but num_layers is 0")

    def hidden_states(self, tokens: Tokens, source: Stream) -> Iterator[Stream]:
        """The embedded target, then its states after each layer."""
        stream = self._embedded(tokens)
        yield stream
        for layer in self.layers:
            stream = stream._replace(x=layer(stream.x, stream.attention, source))
            yield stream

    def forward(self, tokens: Tokens, source: Stream, output_rows: Rows = EVERY_ROW) -> Tensor:
        """The final states of the output rows, [Q, D]; the last layer computes only those."""
        x, attention_layout, _ = self._embedded(tokens)
        *earlier, last = self.layers
        for layer in earlier:
            x = layer(x, attention_layout, source)
        if output_rows is EVERY_ROW:
            return last(x, attention_layout, source)
        numbers = row_numbers(output_rows, len(x), x.device)
        # restrict_queries takes ascending rows
        rows, positions = (copied(part, x.device) for part in torch.unique(on_host(numbers), return_inverse=True))
        return last(x, attention_layout.restrict_queries(rows), source)[positions]

    def begin(self, source: Stream) -> Memory:
        """The cache of one empty hypothesis per source."""
        count = len(source.aligned_layout)
        first = Stream.of(source.x[:0], SequenceLayout((1,) * count))
        layers = tuple(layer.remember(source.x, count) for layer in self._decoder_layers())
        return Memory(layers, between(first, source), written=0)

    def step(self, tokens: Tokens, memory: Memory) -> tuple[Tensor, Memory]:
        """The final state of the next row of every hypothesis, [K, D], and the extended cache.

        Agrees with :meth:`forward` over all rows so far; ``tokens`` hold one row per hypothesis.
        """
        x = self.embed(tokens)
        layers = []
        for layer, cache in zip(self._decoder_layers(), memory.layers, strict=True):
            x, cache = layer.step(x, cache, memory.attention_layout)
            layers.append(cache)
        return x, replace(memory, layers=tuple(layers), written=memory.written + 1)

    def _decoder_layers(self) -> Iterator[DecoderLayer]:
        return (layer for layer in self.layers if isinstance(layer, DecoderLayer))

    def _embedded(self, tokens: Tokens) -> Stream:
        return Stream.of(self.embed(tokens), tokens.layout, Causal())
