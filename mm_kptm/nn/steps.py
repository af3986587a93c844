"""Two streams side by side, and the steps that move them forward.

Every two-stream encoder of the suite is a list of steps. A step takes a :class:`Pair` and returns a :class:`Pair`;
which steps, in which order, is all that separates ViLBERT from LXMERT from ERNIE. A step can be told which rows of its
result will be read (:class:`Asked`), and says which rows of the pair before it that takes; what nobody reads is not
computed.

Shapes: T rows of the left stream, R rows of the right one, D and E their dims.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import NamedTuple

from torch import Tensor, nn

from mm_kptm.batch import ALL, NONE, Layout, Rows, Visibility
from mm_kptm.nn.ragged import Reading, across, reading_within, within
from mm_kptm.nn.visibility import Open


class Shown(NamedTuple):
    """How the sequences of a stream are repeated so that every sequence beside it has one of its own."""

    layout: Layout
    rows: Tensor  #: the row of the stream that each repeated row is


class Stream(NamedTuple):
    """The rows of one modality and how they read each other.

    A stream whose sequences several others share (an image that many questions ask about) holds each of them once
    until the streams meet; such a stream sees its whole sequences.
    """

    x: Tensor  #: [T, D]
    reading: Reading
    shown: Shown | None = None  #: None: every sequence stands beside the one of the same number

    @classmethod
    def of(cls, x: Tensor, layout: Layout, sees: Visibility | None = None, *, shown: Shown | None = None) -> Stream:
        """A stream whose rows see their whole sequence, or what ``sees`` allows."""
        return cls(x, reading_within(layout, sees), shown)

    @property
    def layout(self) -> Layout:
        """Where each sequence lies."""
        return self.reading.sources

    @property
    def beside(self) -> Layout:
        """Where each sequence lies once it stands beside the one that it belongs to."""
        return self.layout if self.shown is None else self.shown.layout

    def taken(self, rows: Rows) -> Stream:
        """Only some of the rows, counted when every sequence stands beside its own; none of them reads any more."""
        if rows is ALL:
            return self
        if rows is NONE:
            return Stream.of(self.x[:0], Layout((0,) * len(self.beside)))
        numbers = rows if self.shown is None else self.shown.rows[rows]
        return Stream.of(self.x[numbers], within(self.beside).narrowed(rows).queries)  # type: ignore[arg-type]

    def repeated(self) -> Stream:
        """Every sequence beside its own; what is shared is held as often as it is shown."""
        return self if self.shown is None else Stream.of(self.x.index_select(0, self.shown.rows), self.shown.layout)


class Pair(NamedTuple):
    """The text stream and its companion: another modality, or another form of the same text."""

    left: Stream
    right: Stream


class Asked(NamedTuple):
    """The rows of a pair that are read: :data:`~mm_kptm.batch.ALL`, :data:`~mm_kptm.batch.NONE`, or their numbers."""

    left: Rows
    right: Rows


WHOLE = Asked(ALL, ALL)


class Step(nn.Module, ABC):
    """One move of a pair of streams."""

    @abstractmethod
    def forward(self, pair: Pair, asked: Asked = WHOLE) -> Pair:
        """The pair after the step, finished only where it is asked for."""

    @abstractmethod
    def needs(self, asked: Asked) -> Asked:
        """What has to be there before the step, for what is asked for after it."""


class SelfStep(Step):
    """Each stream reads itself; a side without a layer waits unchanged."""

    def __init__(self, left: nn.Module | None, right: nn.Module | None) -> None:
        super().__init__()
        self.left = left
        self.right = right

    def forward(self, pair: Pair, asked: Asked = WHOLE) -> Pair:
        return Pair(_alone(self.left, pair.left, asked.left), _alone(self.right, pair.right, asked.right))

    def needs(self, asked: Asked) -> Asked:
        return Asked(
            asked.left if self.left is None or asked.left is NONE else ALL,
            asked.right if self.right is None or asked.right is NONE else ALL,
        )


class CrossStep(Step):
    """Each stream reads the other, both as they were before the step.

    Two layers make ViLBERT's co-attention (Lu et al. 2019, section 2.2). The same layer given twice makes LXMERT's
    cross-modality sublayer, whose directions share their weights (Tan and Bansal 2019, section 2.2). What a stream
    hides from its ordinary rows is hidden from the other stream too.
    """

    def __init__(self, left: nn.Module, right: nn.Module) -> None:
        super().__init__()
        self.left = left
        self.right = right

    def forward(self, pair: Pair, asked: Asked = WHOLE) -> Pair:
        left, right = pair
        return Pair(_facing(self.left, left, right, asked.left), _facing(self.right, right, left, asked.right))

    def needs(self, asked: Asked) -> Asked:
        return asked if asked.left is NONE and asked.right is NONE else WHOLE


def between(reader: Stream, source: Stream) -> Reading:
    """How one stream reads another, sequence by sequence."""
    reading = across(reader.beside, source.beside)
    if reader.shown is not None:
        reading = replace(reading, rows=reader.shown.rows)
    if source.shown is not None:
        reading = replace(reading, shared=source.shown.rows)
    if source.reading.sees is not None:
        reading = replace(reading, sees=Open.of(source.reading.sees, source.layout.total, source.x.device))
    return reading


def _alone(layer: nn.Module | None, stream: Stream, rows: Rows) -> Stream:
    if layer is None:
        return stream
    if rows is ALL:
        return stream._replace(x=layer(stream.x, stream.reading))
    if rows is NONE:
        return stream.taken(NONE)
    reading = stream.reading.narrowed(rows)  # type: ignore[arg-type]
    return Stream.of(layer(stream.x, reading), reading.queries)


def _facing(layer: nn.Module, reader: Stream, source: Stream, rows: Rows) -> Stream:
    if rows is NONE:
        return reader.taken(NONE)
    reading = between(reader, source)
    if rows is ALL:
        read = layer(reader.x, reading, source.x)
        return reader._replace(x=read) if reader.shown is None else Stream.of(read, reader.beside)
    reading = reading.narrowed(rows)  # type: ignore[arg-type]
    return Stream.of(layer(reader.x, reading, source.x), reading.queries)
