"""Pre-norm Transformer sublayers and layers, with a final norm after the last layer.

Shapes: Q query rows, T target rows, S source rows, K hypotheses, D dim.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from mm_kptm.batch import EVERY_ROW, Rows, SequenceLayout, Tokens
from mm_kptm.nn.attention import Attention
from mm_kptm.nn.decoder import Decoder, DecoderLayer, LayerMemory, Memory
from mm_kptm.nn.fused import project
from mm_kptm.nn.ragged import AttentionLayout, cross_attention_layout
from mm_kptm.nn.steps import Stream
from mm_kptm.nn.sublayers import AttentionSublayer, FeedForwardSublayer, Layer, NormBuilder


class PreNormAttention(AttentionSublayer):
    """Norm, attention, residual (Xiong et al. 2020, figure 1b); a source stream is not normed."""

    def forward(self, x: Tensor, attention_layout: AttentionLayout, source: Tensor | None = None) -> Tensor:
        """Attend from the query rows of ``x`` [T, D] to ``source`` [S, source_dim], or to ``x`` itself: [Q, D]."""
        if source is None:
            normed = self.norm(x)
            return self.add(
                attention_layout.query_states(x),
                self.attention(attention_layout.query_states(normed), normed, attention_layout),
            )
        queries = attention_layout.query_states(x)
        return self.add(queries, self.attention(self.norm(queries), source, attention_layout))

    def add(self, x: Tensor, read: Tensor) -> Tensor:
        """Residual connection without a norm, x + dropout(read): [Q, D]."""
        return x + self.drop(read)


class PreNormFeedForward(FeedForwardSublayer):
    """Norm, up-projection, activation, down-projection, residual."""

    def forward(self, x: Tensor) -> Tensor:
        """[Q, D] -> [Q, D]."""
        return x + self.drop(project(self.down_proj, project(self.up_proj, self.norm(x), self.activation)))


class PreNormDecoderLayer(DecoderLayer):
    """Pre-norm decoder layer: self-attention, cross-attention, feed-forward.

    Both attention sublayers are :class:`PreNormAttention`.
    """

    def step(self, x: Tensor, memory: LayerMemory, attention_layout: AttentionLayout) -> tuple[Tensor, LayerMemory]:
        """States of the next row of every hypothesis, [K, D], and the extended cache."""
        normed = self.self_attention.norm(x)
        new = self.self_attention.attention.offer(normed)
        key, value = (torch.cat([old, row[:, None]], 1) for old, row in zip(memory.written, new, strict=True))
        own = cross_attention_layout(SequenceLayout((1,) * len(x)), SequenceLayout((key.shape[1],) * len(x)))
        x = self.self_attention.add(
            x, self.self_attention.attention.read(normed, key.flatten(0, 1), value.flatten(0, 1), own)
        )
        key_read, value_read = (attention_layout.key_states(part) for part in memory.source)
        x = self.cross_attention.add(
            x, self.cross_attention.attention.read(self.cross_attention.norm(x), key_read, value_read, attention_layout)
        )
        return self.ffn(x), replace(memory, written=(key, value))


class NormedDecoder(Decoder):
    """Decoder with a norm after its last layer."""

    def __init__(self, embed: nn.Module, layers: Iterable[DecoderLayer], norm: nn.Module) -> None:
        super().__init__(embed, layers)
        self.norm = norm

    def hidden_states(self, tokens: Tokens, source: Stream) -> Iterator[Stream]:
        """The embedded target, then its states after each layer, the last ones normed."""
        for depth, stream in enumerate(super().hidden_states(tokens, source)):
            yield stream._replace(x=self.norm(stream.x)) if depth == len(self.layers) else stream

    def forward(self, tokens: Tokens, source: Stream, output_rows: Rows = EVERY_ROW) -> Tensor:
        """The final states of the output rows, [Q, D]."""
        normed: Tensor = self.norm(super().forward(tokens, source, output_rows))
        return normed

    def step(self, tokens: Tokens, memory: Memory) -> tuple[Tensor, Memory]:
        """The final state of the next row of every hypothesis, [K, D], and the extended cache."""
        x, memory = super().step(tokens, memory)
        return self.norm(x), memory


def prenorm_attention(
    dim: int, num_heads: int, norm: NormBuilder, *, dropout: float = 0.1, attention_dropout: float | None = None
) -> PreNormAttention:
    """A pre-norm attention sublayer; ``attention_dropout`` defaults to ``dropout``."""
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
    self_attention, cross_attention = (
        prenorm_attention(dim, num_heads, norm, dropout=dropout, attention_dropout=attention_dropout) for _ in range(2)
    )
    return PreNormDecoderLayer(
        self_attention,
        cross_attention,
        PreNormFeedForward(dim, ffn_dim, norm(dim), activation=activation, dropout=dropout),
    )
