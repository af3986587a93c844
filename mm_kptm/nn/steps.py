"""Two-stream encoders as lists of steps.

A step takes a :class:`Pair` of streams and returns a :class:`Pair`; which steps, in which order, is all that separates
ViLBERT, LXMERT and ERNIE. A caller may name the output rows of a step (:class:`PairRows`), and the step says which rows
of its input they depend on; rows that no later step needs are not computed.

Shapes: T rows of the left stream, R rows of the right one, D and E their dims.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import NamedTuple

from torch import Tensor, nn

from mm_kptm.batch import EVERY_ROW, NO_ROWS, AttentionMask, Rows, SequenceLayout, row_numbers
from mm_kptm.nn.ragged import (
    AttentionLayout,
    cross_attention_layout,
    masked_self_attention_layout,
    self_attention_layout,
)
from mm_kptm.nn.visibility import Open


class SharedSequences(NamedTuple):
    """Expansion of shared sequences (one image, many questions) to one per sequence of the other stream."""

    layout: SequenceLayout
    rows: Tensor  #: row of the stream that each expanded row copies


class Stream(NamedTuple):
    """The rows of one modality and their self-attention layout.

    A stream whose sequences are shared by several of the other (an image and its questions) has each of them once until
    the first cross-attention; such a stream takes no attention mask.
    """

    x: Tensor  #: [T, D]
    attention: AttentionLayout
    shared: SharedSequences | None = None  #: None: sequences of the two streams are paired by index

    @classmethod
    def of(
        cls,
        x: Tensor,
        layout: SequenceLayout,
        mask: AttentionMask | None = None,
        *,
        shared: SharedSequences | None = None,
    ) -> Stream:
        """A stream whose rows attend to their whole sequence, or to what ``mask`` allows."""
        return cls(x, masked_self_attention_layout(layout, mask), shared)

    @property
    def layout(self) -> SequenceLayout:
        """Layout of the stream's own sequences."""
        return self.attention.sources

    @property
    def aligned_layout(self) -> SequenceLayout:
        """Layout after shared sequences are expanded."""
        return self.layout if self.shared is None else self.shared.layout

    def select(self, rows: Rows) -> Stream:
        """Some of the expanded rows, for pass-through only: the result has no self-attention mask."""
        if rows is EVERY_ROW:
            return self
        if rows is NO_ROWS:
            return Stream.of(self.x[:0], SequenceLayout((0,) * len(self.aligned_layout)))
        numbers = row_numbers(rows, self.aligned_layout.total, self.x.device)
        layout = self_attention_layout(self.aligned_layout).restrict_queries(numbers).queries
        return Stream.of(self.x[numbers if self.shared is None else self.shared.rows[numbers]], layout)

    def repeated(self) -> Stream:
        """The stream with shared sequences expanded."""
        return self if self.shared is None else Stream.of(self.x.index_select(0, self.shared.rows), self.shared.layout)


class Pair(NamedTuple):
    """The text stream and its companion: another modality, or another form of the same text."""

    left: Stream
    right: Stream

    @property
    def x(self) -> Tensor:
        """The rows of the left stream, [T, D]."""
        return self.left.x


class PairRows(NamedTuple):
    """Output rows of each side of a pair, as in :class:`~mm_kptm.batch.OutputRows`."""

    left: Rows
    right: Rows


ALL_PAIR_ROWS = PairRows(EVERY_ROW, EVERY_ROW)


class Step(nn.Module, ABC):
    """One step of a two-stream encoder."""

    @abstractmethod
    def forward(self, pair: Pair, asked: PairRows = ALL_PAIR_ROWS) -> Pair:
        """The pair after the step; only the rows ``asked`` are computed."""

    @abstractmethod
    def needs(self, asked: PairRows) -> PairRows:
        """The input rows that the output rows ``asked`` depend on."""


class SelfStep(Step):
    """Self-attention in each stream; a side without a layer passes through."""

    def __init__(self, left: nn.Module | None, right: nn.Module | None) -> None:
        super().__init__()
        self.left = left
        self.right = right

    def forward(self, pair: Pair, asked: PairRows = ALL_PAIR_ROWS) -> Pair:
        return Pair(_self_attend(self.left, pair.left, asked.left), _self_attend(self.right, pair.right, asked.right))

    def needs(self, asked: PairRows) -> PairRows:
        return PairRows(
            asked.left if self.left is None or asked.left is NO_ROWS else EVERY_ROW,
            asked.right if self.right is None or asked.right is NO_ROWS else EVERY_ROW,
        )


class CrossStep(Step):
    """Cross-attention in both directions, each from the states before the step.

    Two layers make ViLBERT's co-attention (Lu et al. 2019, section 2.2). The same layer given twice makes LXMERT's
    cross-modality sublayer, whose directions share their weights (Tan and Bansal 2019, section 2.2). Rows masked from
    the ordinary rows of a stream are masked from the other stream too.
    """

    def __init__(self, left: nn.Module, right: nn.Module) -> None:
        super().__init__()
        self.left = left
        self.right = right

    def forward(self, pair: Pair, asked: PairRows = ALL_PAIR_ROWS) -> Pair:
        left, right = pair
        return Pair(
            _cross_attend(self.left, left, right, asked.left), _cross_attend(self.right, right, left, asked.right)
        )

    def needs(self, asked: PairRows) -> PairRows:
        return asked if asked.left is NO_ROWS and asked.right is NO_ROWS else ALL_PAIR_ROWS


def between(reader: Stream, source: Stream) -> AttentionLayout:
    """Cross-attention layout from one stream to another, sequence by sequence."""
    attention_layout = cross_attention_layout(reader.aligned_layout, source.aligned_layout)
    if reader.shared is not None:
        attention_layout = replace(attention_layout, query_rows=reader.shared.rows)
    if source.shared is not None:
        attention_layout = replace(attention_layout, source_rows=source.shared.rows)
    if source.attention.mask is not None:
        attention_layout = replace(
            attention_layout, mask=Open.of(source.attention.mask, source.layout.total, source.x.device)
        )
    return attention_layout


def _self_attend(layer: nn.Module | None, stream: Stream, rows: Rows) -> Stream:
    if layer is None:
        return stream
    if rows is EVERY_ROW:
        return stream._replace(x=layer(stream.x, stream.attention))
    if rows is NO_ROWS:
        return stream.select(NO_ROWS)
    attention_layout = stream.attention.restrict_queries(row_numbers(rows, stream.layout.total, stream.x.device))
    return Stream.of(layer(stream.x, attention_layout), attention_layout.queries)


def _cross_attend(layer: nn.Module, reader: Stream, source: Stream, rows: Rows) -> Stream:
    if rows is NO_ROWS:
        return reader.select(NO_ROWS)
    attention_layout = between(reader, source)
    if rows is EVERY_ROW:
        attended = layer(reader.x, attention_layout, source.x)
        return reader._replace(x=attended) if reader.shared is None else Stream.of(attended, reader.aligned_layout)
    attention_layout = attention_layout.restrict_queries(
        row_numbers(rows, reader.aligned_layout.total, reader.x.device)
    )
    return Stream.of(layer(reader.x, attention_layout, source.x), attention_layout.queries)
