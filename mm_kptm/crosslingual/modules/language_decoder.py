"""Decoder with a per-language output projection of cross-attention.

Shapes: Q query rows, T target rows, K hypotheses, D dim.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from mm_kptm.batch import EVERY_ROW, Rows, SequenceLayout, Tokens, row_numbers
from mm_kptm.errors import UserError
from mm_kptm.nn.attention import Attention
from mm_kptm.nn.decoder import Decoder, DecoderLayer, LayerMemory, Memory
from mm_kptm.nn.fused import project
from mm_kptm.nn.ragged import AttentionLayout, attend, cross_attention_layout
from mm_kptm.nn.steps import Stream, between
from mm_kptm.nn.submodules import submodule


class PerLanguageLinear(nn.Module):
    """Linear layer with separate weights per language."""

    def __init__(self, dim: int, num_languages: int) -> None:
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(dim, dim) for _ in range(num_languages))

    def forward(self, x: Tensor, languages: Tensor) -> Tensor:
        """[Q, D] -> [Q, D]; languages [Q]."""
        out = torch.zeros_like(x)
        for number in torch.unique(languages).tolist():
            rows = (languages == number).nonzero().squeeze(1)
            out = out.index_copy(0, rows, self.linears[number](x[rows]))
        return out


class PerLanguageAttention(Attention):
    """Multi-head attention with a per-language output projection."""

    def __init__(self, dim: int, num_heads: int, num_languages: int, *, dropout: float = 0.1) -> None:
        super().__init__(dim, num_heads, dropout=dropout)
        self.out_proj = PerLanguageLinear(dim, num_languages)  # type: ignore[assignment]  # takes languages, too

    def read_in(
        self, x: Tensor, key: Tensor, value: Tensor, attention_layout: AttentionLayout, languages: Tensor
    ) -> Tensor:
        """Attend from the rows ``x`` [Q, D] of given languages [Q] to keys and values [S, H, D / H]: [Q, D]."""
        dropout = self.dropout if self.training else 0.0
        read = attend(self._heads(project(self.query, x)), key, value, attention_layout, dropout=dropout)
        merged: Tensor = self.out_proj(read.flatten(1), languages)
        return merged


class LanguageDecoderLayer(DecoderLayer):
    """Decoder layer with per-language cross-attention."""

    def forward(  # type: ignore[override]  # a decoder of its own calls it
        self, x: Tensor, attention_layout: AttentionLayout, source: Stream, languages: Tensor
    ) -> Tensor:
        """New states of the query rows of ``x`` [T, D]: [Q, D]; languages of the query rows, [Q]."""
        x = self.self_attention(x, attention_layout)
        other = between(Stream.of(x, attention_layout.queries), source)
        key, value = (other.key_states(part) for part in self.cross_attention.attention.offer(source.x))
        return self.ffn(self.cross_attention.add(x, self._attention.read_in(x, key, value, other, languages)))

    def step(  # type: ignore[override]  # a decoder of its own calls it
        self, x: Tensor, memory: LayerMemory, attention_layout: AttentionLayout, languages: Tensor
    ) -> tuple[Tensor, LayerMemory]:
        """States of the next row of every hypothesis, [K, D], and the extended cache."""
        new = self.self_attention.attention.offer(x)
        key, value = (torch.cat([old, row[:, None]], 1) for old, row in zip(memory.written, new, strict=True))
        own = cross_attention_layout(SequenceLayout((1,) * len(x)), SequenceLayout((key.shape[1],) * len(x)))
        x = self.self_attention.add(
            x, self.self_attention.attention.read(x, key.flatten(0, 1), value.flatten(0, 1), own)
        )
        key_read, value_read = (attention_layout.key_states(part) for part in memory.source)
        x = self.cross_attention.add(x, self._attention.read_in(x, key_read, value_read, attention_layout, languages))
        return self.ffn(x), replace(memory, written=(key, value))

    @property
    def _attention(self) -> PerLanguageAttention:
        return submodule(self, "cross_attention.attention", PerLanguageAttention)


class LanguageDecoder(Decoder):
    """Decoder of :class:`LanguageDecoderLayer`; every target token carries its language id."""

    def hidden_states(self, tokens: Tokens, source: Stream) -> Iterator[Stream]:
        """The embedded target, then its states after each layer."""
        languages, stream = _languages(tokens), self._embedded(tokens)
        yield stream
        for layer in self.layers:
            stream = stream._replace(x=layer(stream.x, stream.attention, source, languages))
            yield stream

    def forward(self, tokens: Tokens, source: Stream, output_rows: Rows = EVERY_ROW) -> Tensor:
        """The final states of the output rows, [Q, D]; the last layer computes only those."""
        languages, (x, attention_layout, _) = _languages(tokens), self._embedded(tokens)
        *earlier, last = self.layers
        for layer in earlier:
            x = layer(x, attention_layout, source, languages)
        if output_rows is EVERY_ROW:
            final: Tensor = last(x, attention_layout, source, languages)
            return final
        numbers = row_numbers(output_rows, len(x), x.device)
        rows, places = torch.unique(numbers, return_inverse=True)  # restrict_queries takes ascending rows
        selected: Tensor = last(x, attention_layout.restrict_queries(rows), source, languages[rows])[places]
        return selected

    def step(self, tokens: Tokens, memory: Memory) -> tuple[Tensor, Memory]:
        """The final state of the next row of every hypothesis, [K, D], and the extended cache."""
        languages, x = _languages(tokens), self.embed(tokens)
        layers = []
        for layer, kept in zip(self.layers, memory.layers, strict=True):
            assert isinstance(layer, LanguageDecoderLayer)
            x, kept = layer.step(x, kept, memory.attention_layout, languages)
            layers.append(kept)
        return x, replace(memory, layers=tuple(layers), written=memory.written + 1)


def _languages(tokens: Tokens) -> Tensor:
    if tokens.languages is None:
        raise UserError("this decoder has a projection for each language, but the target carries no languages")
    return tokens.languages
