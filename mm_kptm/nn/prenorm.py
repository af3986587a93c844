"""Pre-norm Transformer parts: the norm stands before each sublayer, and one more after the last layer.

Shapes: Q reading rows, T target rows, S source rows, K hypotheses, D dim.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from mm_kptm.batch import ALL, Layout, Rows, Tokens
from mm_kptm.nn.attention import Attention
from mm_kptm.nn.decoder import Decoder, DecoderLayer, LayerMemory, Memory
from mm_kptm.nn.fused import project
from mm_kptm.nn.ragged import Reading, across
from mm_kptm.nn.steps import Stream
from mm_kptm.nn.sublayers import AttentionSublayer, FeedForwardSublayer, Layer, NormBuilder


class PreNormAttention(AttentionSublayer):
    """Norm, attend, add (Xiong et al. 2020, figure 1b); a second stream is attended to as it is."""

    def forward(self, x: Tensor, reading: Reading, source: Tensor | None = None) -> Tensor:
        """Let the asked rows of ``x`` [T, D] read ``source`` [S, source_dim], or ``x`` itself: [Q, D]."""
        if source is None:
            normed = self.norm(x)
            return self.add(reading.asked(x), self.attention(reading.asked(normed), normed, reading))
        asked = reading.asked(x)
        return self.add(asked, self.attention(self.norm(asked), source, reading))

    def add(self, x: Tensor, read: Tensor) -> Tensor:
        """Residual connection without a norm, x + dropout(read): [Q, D]."""
        return x + self.drop(read)


class PreNormFeedForward(FeedForwardSublayer):
    """Norm, widen, activate, narrow, add."""

    def forward(self, x: Tensor) -> Tensor:
        """[Q, D] -> [Q, D]."""
        return x + self.drop(project(self.narrow, project(self.widen, self.norm(x), self.activation)))


class PreNormDecoderLayer(DecoderLayer):
    """Attend to what was written, attend to the source, feed forward, each behind its norm.

    Both attention sublayers are :class:`PreNormAttention`.
    """

    def step(self, x: Tensor, memory: LayerMemory, reading: Reading) -> tuple[Tensor, LayerMemory]:
        """The next row of every hypothesis, [K, D], and the memory with it."""
        normed = self.attend.norm(x)
        new = self.attend.attention.offer(normed)
        key, value = (torch.cat([old, row[:, None]], 1) for old, row in zip(memory.written, new, strict=True))
        own = across(Layout((1,) * len(x)), Layout((key.shape[1],) * len(x)))
        x = self.attend.add(x, self.attend.attention.read(normed, key.flatten(0, 1), value.flatten(0, 1), own))
        key_read, value_read = (reading.offered(part) for part in memory.source)
        x = self.look.add(x, self.look.attention.read(self.look.norm(x), key_read, value_read, reading))
        return self.feed(x), replace(memory, written=(key, value))


class NormedDecoder(Decoder):
    """A decoder with a norm after its last layer."""

    def __init__(self, embed: nn.Module, layers: Iterable[DecoderLayer], norm: nn.Module) -> None:
        super().__init__(embed, layers)
        self.norm = norm

    def walk(self, tokens: Tokens, source: Stream) -> Iterator[Stream]:
        """The target at every depth: embedded, after each layer, the last one normed."""
        for depth, stream in enumerate(super().walk(tokens, source)):
            yield stream._replace(x=self.norm(stream.x)) if depth == len(self.layers) else stream

    def forward(self, tokens: Tokens, source: Stream, wanted: Rows = ALL) -> Tensor:
        """The final states of the wanted rows, [Q, D]."""
        normed: Tensor = self.norm(super().forward(tokens, source, wanted))
        return normed

    def step(self, tokens: Tokens, memory: Memory) -> tuple[Tensor, Memory]:
        """The final state of the next row of every hypothesis, [K, D], and the memory with it."""
        x, memory = super().step(tokens, memory)
        return self.norm(x), memory


def prenorm_attention(
    dim: int, num_heads: int, norm: NormBuilder, *, dropout: float = 0.1, attention_dropout: float | None = None
) -> PreNormAttention:
    """A pre-norm attention sublayer; attention weights are dropped like the states unless told otherwise."""
    rate = dropout if attention_dropout is None else attention_dropout
    return PreNormAttention(Attention(dim, num_heads, dropout=rate), norm(dim), dropout=dropout)


def prenorm_layer(
    dim: int,
    num_heads: int,
    ffn_dim: int,
    norm: NormBuilder,
    *,
    activation: str = "gelu",
    dropout: float = 0.1,
    attention_dropout: float | None = None,
) -> Layer:
    """A pre-norm encoder layer."""
    return Layer(
        prenorm_attention(dim, num_heads, norm, dropout=dropout, attention_dropout=attention_dropout),
        PreNormFeedForward(dim, ffn_dim, norm(dim), activation=activation, dropout=dropout),
    )


def prenorm_decoder_layer(
    dim: int,
    num_heads: int,
    ffn_dim: int,
    norm: NormBuilder,
    *,
    activation: str = "gelu",
    dropout: float = 0.1,
    attention_dropout: float | None = None,
) -> PreNormDecoderLayer:
    """A pre-norm decoder layer."""
    attend, look = (
        prenorm_attention(dim, num_heads, norm, dropout=dropout, attention_dropout=attention_dropout) for _ in range(2)
    )
    return PreNormDecoderLayer(
        attend, look, PreNormFeedForward(dim, ffn_dim, norm(dim), activation=activation, dropout=dropout)
    )
