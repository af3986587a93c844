"""A decoder: layers that read what was written so far, then the source, then think.

Shapes: T target rows, S source rows, B sources, K hypotheses (texts being written), t rows of each, D dim, H heads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from mm_kptm.batch import ALL, Layout, Rows, Tokens
from mm_kptm.errors import UserError
from mm_kptm.nn.ragged import Reading, across
from mm_kptm.nn.steps import Stream, between
from mm_kptm.nn.sublayers import AttentionSublayer
from mm_kptm.nn.visibility import Causal


@dataclass(frozen=True, eq=False)
class LayerMemory:
    """What one layer has read: keys and values."""

    source: tuple[Tensor, Tensor]  #: each [S, H, D / H]
    written: tuple[Tensor, Tensor]  #: each [K, t, H, D / H]


@dataclass(frozen=True, eq=False)
class Memory:
    """What a decoder has read, so that a further row is computed without the rows before it."""

    layers: tuple[LayerMemory, ...]
    reading: Reading  #: how a source is read by one row of each of its hypotheses
    written: int  #: rows of each hypothesis, t

    def kept(self, parents: Tensor, counts: Layout) -> Memory:
        """The memory of other hypotheses: each goes on from one of the old.

        Args:
            parents: the old hypothesis of each new one, in the order of the sources, [K].
            counts: as lengths, how many hypotheses each source has now, [B].
        """
        layers = tuple(
            replace(layer, written=(layer.written[0][parents], layer.written[1][parents])) for layer in self.layers
        )
        return replace(self, layers=layers, reading=replace(self.reading, queries=counts))


class DecoderLayer(nn.Module):
    """Read what was written, read the source, think (Vaswani et al. 2017, section 3.1)."""

    def __init__(self, attend: AttentionSublayer, look: AttentionSublayer, feed: nn.Module) -> None:
        super().__init__()
        self.attend = attend
        self.look = look
        self.feed = feed

    def forward(self, x: Tensor, reading: Reading, source: Stream) -> Tensor:
        """The asked rows of ``x`` [T, D] after reading: [Q, D]."""
        x = self.attend(x, reading)
        return self.feed(self.look(x, between(Stream.of(x, reading.queries), source), source.x))

    def remember(self, source: Tensor, count: int) -> LayerMemory:
        """The memory of ``count`` hypotheses without a row yet, about a source [S, D]."""
        key, value = self.look.attention.offer(source)
        empty = key.new_empty(count, 0, *key.shape[1:])
        return LayerMemory(source=(key, value), written=(empty, empty))

    def step(self, x: Tensor, memory: LayerMemory, reading: Reading) -> tuple[Tensor, LayerMemory]:
        """The next row of every hypothesis, [K, D], and the memory with it."""
        new = self.attend.attention.offer(x)
        key, value = (torch.cat([old, row[:, None]], 1) for old, row in zip(memory.written, new, strict=True))
        rows = Layout((1,) * len(x)), Layout((key.shape[1],) * len(x))
        x = self.attend.add(x, self.attend.attention.read(x, key.flatten(0, 1), value.flatten(0, 1), across(*rows)))
        key_read, value_read = (reading.offered(part) for part in memory.source)
        x = self.look.add(x, self.look.attention.read(x, key_read, value_read, reading))
        return self.feed(x), replace(memory, written=(key, value))


class Decoder(nn.Module):
    """An embedding and layers; a row sees itself, the rows before it, and the whole source.

    Args:
        embed: from :class:`~mm_kptm.batch.Tokens` to rows [T, D].
        layers: of :class:`DecoderLayer`.

    Raises:
        UserError: there is no layer.
    """

    def __init__(self, embed: nn.Module, layers: Iterable[DecoderLayer]) -> None:
        super().__init__()
        self.embed = embed
        self.layers = nn.ModuleList(layers)
        if not self.layers:
            raise UserError("a decoder needs at least one layer, but num_layers is 0")

    def walk(self, tokens: Tokens, source: Stream) -> Iterator[Stream]:
        """The target at every depth: embedded, then after each layer."""
        stream = self._embedded(tokens)
        yield stream
        for layer in self.layers:
            stream = stream._replace(x=layer(stream.x, stream.reading, source))
            yield stream

    def forward(self, tokens: Tokens, source: Stream, wanted: Rows = ALL) -> Tensor:
        """The final states of the wanted rows, [Q, D]; the last layer finishes only those."""
        x, reading, _ = self._embedded(tokens)
        *earlier, last = self.layers
        for layer in earlier:
            x = layer(x, reading, source)
        if wanted is ALL:
            return last(x, reading, source)
        numbers = torch.arange(len(x), device=x.device)[wanted] if isinstance(wanted, slice) else wanted
        rows, places = torch.unique(numbers, return_inverse=True)  # a reading is narrowed to rows in order
        return last(x, reading.narrowed(rows), source)[places]

    def begin(self, source: Stream) -> Memory:
        """The memory of one hypothesis per source, before its first row."""
        count = len(source.beside)
        first = Stream.of(source.x[:0], Layout((1,) * count))
        layers = tuple(layer.remember(source.x, count) for layer in self.layers)  # type: ignore[operator]
        return Memory(layers, between(first, source), written=0)

    def step(self, tokens: Tokens, memory: Memory) -> tuple[Tensor, Memory]:
        """The final state of the next row of every hypothesis, [K, D], and the memory with it.

        Agrees with :meth:`forward` over all rows so far; ``tokens`` hold one row per hypothesis.
        """
        x = self.embed(tokens)
        layers = []
        for layer, kept in zip(self.layers, memory.layers, strict=True):
            x, kept = layer.step(x, kept, memory.reading)  # type: ignore[operator]
            layers.append(kept)
        return x, replace(memory, layers=tuple(layers), written=memory.written + 1)

    def _embedded(self, tokens: Tokens) -> Stream:
        return Stream.of(self.embed(tokens), tokens.layout, Causal())
