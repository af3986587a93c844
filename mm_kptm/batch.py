"""Values that travel through the house: ragged streams of tokens and regions, and the inputs of a model.

A stream holds the rows of all its sequences end to end; a :class:`Layout` says where each one lies. Padding exists
only at the edges: :meth:`Tokens.padded` and :meth:`Regions.padded` take padded tensors in, :func:`pad` gives them back.

Shapes: B sequences, T token rows, R region rows, F region features, N padded length.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import ClassVar, Self

import torch
from torch import Tensor

from mm_kptm.errors import UserError

Rows = Tensor | slice
ALL = slice(None)
NONE = slice(0, 0)


class Movable:
    """Sends every tensor of a frozen dataclass, however deep, to one device."""

    def to(self, device: torch.device | str) -> Self:
        """The same value with its tensors on ``device``."""
        if not is_dataclass(self):
            return self
        moved = {part.name: _sent(getattr(self, part.name), device) for part in fields(self)}
        moved = {name: value for name, value in moved.items() if value is not None}
        return replace(self, **moved) if moved else self


def _sent(value: object, device: torch.device | str) -> object | None:
    """A value on another device, or a mapping to such values; None where nothing can be moved."""
    if isinstance(value, Tensor | Movable):
        return value.to(device)
    if isinstance(value, Mapping) and all(isinstance(part, Tensor | Movable) for part in value.values()):
        return {name: part.to(device) for name, part in value.items()}
    return None


@dataclass(frozen=True)
class Layout:
    """Where each sequence lies among the rows; made once per batch and shared by every layer."""

    lengths: tuple[int, ...]

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """First row of every sequence, and the number of rows at the end; B + 1 numbers."""
        return (0, *accumulate(self.lengths))

    @property
    def total(self) -> int:
        """Number of rows."""
        return self.offsets[-1]

    @cached_property
    def _on_device(self) -> dict[torch.device, Tensor]:
        return {}

    def bounds(self, device: torch.device) -> Tensor:
        """:attr:`offsets` as int32 on ``device``, [B + 1]; copied there once."""
        if device not in self._on_device:
            self._on_device[device] = torch.tensor(self.offsets, dtype=torch.int32, device=device)
        return self._on_device[device]

    def firsts(self, device: torch.device) -> Tensor:
        """Row number of the first row of every sequence, [B]."""
        return self.bounds(device)[:-1].long()

    def owners(self, device: torch.device) -> Tensor:
        """The sequence that each row belongs to, [T]."""
        bounds = self.bounds(device).long()
        return torch.repeat_interleave(torch.arange(len(self), device=device), bounds.diff(), output_size=self.total)

    def places(self, device: torch.device) -> Tensor:
        """How far each row stands from the first row of its sequence, [T]."""
        return torch.arange(self.total, device=device) - self.firsts(device)[self.owners(device)]

    def take(self, sequences: Tensor) -> tuple[Layout, Tensor]:
        """The layout of the given sequences (repeats allowed), and the rows to gather, in order."""
        chosen = [(self.offsets[b], self.lengths[b]) for b in sequences.tolist()]
        taken = Layout(tuple(length for _, length in chosen))
        firsts = torch.tensor([first for first, _ in chosen], dtype=torch.long, device=sequences.device)
        return taken, firsts[taken.owners(sequences.device)] + taken.places(sequences.device)

    def __len__(self) -> int:
        return len(self.lengths)

    def split(self, rows: Tensor) -> Iterator[Tensor]:
        """The rows [T, ...] of one sequence after another."""
        return iter(rows.split(list(self.lengths)))


class Visibility(Movable, ABC):
    """Who sees whom inside each sequence, as a function of row numbers; never a matrix per batch.

    Rows are numbered over the whole batch; a pair from different sequences is never asked about.
    """

    may_blind: ClassVar[bool] = False  #: whether a row may see nothing at all; it then reads its whole sequence

    @abstractmethod
    def sees(self, queries: Tensor, sources: Tensor) -> Tensor:
        """True where the query row may see the source row; two broadcastable tensors of row numbers."""

    @abstractmethod
    def spread(self, places: Tensor, total: int) -> Visibility:
        """The same visibility after row i moved to ``places[i]`` among ``total`` rows.

        Rows that are new see, and are seen by, every row that is not hidden from ordinary rows.
        """


def pad(rows: Tensor, layout: Layout, *, value: float = 0.0, length: int | None = None) -> Tensor:
    """Ragged rows [T, ...] as a padded tensor [B, N, ...], N the longest sequence or ``length``."""
    longest = max(layout.lengths, default=0) if length is None else length
    padded = rows.new_full((len(layout), longest, *rows.shape[1:]), value)
    padded[layout.owners(rows.device), layout.places(rows.device)] = rows
    return padded


def unpad(padded: Tensor, real: Tensor) -> Tensor:
    """The real rows of a padded tensor [B, N, ...], end to end; ``real`` [B, N] is true where no padding."""
    return padded[real]


def layout_of(real: Tensor) -> Layout:
    """The layout of the sequences whose real positions are marked, [B, N]."""
    return Layout(tuple(real.sum(1).tolist()))


@dataclass(frozen=True, eq=False)
class Tokens(Movable):
    """Ragged tokens and everything an embedding may want to know of them."""

    ids: Tensor  #: [T]
    layout: Layout
    positions: Tensor  #: [T]; soft positions under K-BERT
    segments: Tensor  #: [T]
    languages: Tensor | None = None  #: [T]
    sees: Visibility | None = None  #: None: every row sees its whole sequence
    vectors: Tensor | None = None  #: taken in place of the word embeddings, [T, D]
    units: Tensor | None = None  #: rows with the same number are hidden together, -1 never; None: each by itself, [T]

    @classmethod
    def of(
        cls,
        sequences: Sequence[Sequence[int]],
        *,
        positions: Sequence[Sequence[int]] | None = None,
        segments: Sequence[Sequence[int]] | None = None,
        languages: Sequence[Sequence[int]] | None = None,
        sees: Visibility | None = None,
        units: Sequence[Sequence[int]] | None = None,
    ) -> Tokens:
        """Ragged tokens from lists; positions count from 0 and segments are 0 unless given.

        Units are numbered in each sequence by itself, below its length.

        Raises:
            UserError: a list of positions, segments, languages or units is not as long as its sequence.
        """
        layout = Layout(tuple(map(len, sequences)))
        counted = layout.places(torch.device("cpu"))
        return cls(
            ids=_flat("ids", sequences, layout),
            layout=layout,
            positions=counted if positions is None else _flat("positions", positions, layout),
            segments=torch.zeros_like(counted) if segments is None else _flat("segments", segments, layout),
            languages=None if languages is None else _flat("languages", languages, layout),
            sees=sees,
            units=None if units is None else _apart(_flat("units", units, layout), layout),
        )

    @classmethod
    def padded(
        cls,
        ids: Tensor,
        real: Tensor,
        *,
        positions: Tensor | None = None,
        segments: Tensor | None = None,
        languages: Tensor | None = None,
        sees: Visibility | None = None,
    ) -> Tokens:
        """Ragged tokens from padded tensors, all [B, N]; positions are the columns unless given.

        Raises:
            UserError: the tensors differ in shape.
        """
        real = real.bool()
        columns = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        positions = columns if positions is None else positions.expand_as(ids)
        segments = torch.zeros_like(ids) if segments is None else segments
        for name, tensor in (("real", real), ("segments", segments), ("languages", languages)):
            if tensor is not None and tensor.shape != ids.shape:
                raise UserError(f"ids have shape {list(ids.shape)} but {name} have {list(tensor.shape)}")
        return cls(
            ids=ids[real],
            layout=layout_of(real),
            positions=positions[real],
            segments=segments[real],
            languages=None if languages is None else languages[real],
            sees=sees,
        )

    @cached_property
    def rows(self) -> int:
        """Number of token rows, T."""
        return self.layout.total


@dataclass(frozen=True, eq=False)
class Detected(Movable):
    """What a detector called every region, and how sure it was."""

    ids: Tensor  #: [R]
    confidence: Tensor  #: between 0 and 1, [R]


@dataclass(frozen=True, eq=False)
class Regions(Movable):
    """Ragged image regions; the sequences are images, each held once however many texts ask about it."""

    features: Tensor  #: [R, F]
    boxes: Tensor  #: x1 y1 x2 y2 as fractions of the image, [R, 4]
    layout: Layout
    segments: Tensor | None = None  #: which kind of region, for systems that tell left from right images, [R]
    hidden: Tensor | None = None  #: true where an objective hid the region, [R]
    classes: Tensor | None = None  #: the detector's distribution over classes, class 0 is background, [R, C]
    objects: Detected | None = None  #: the detector's best object of every region, without a background class
    attributes: Detected | None = None  #: the detector's best attribute (colour, material) of every region

    @classmethod
    def padded(
        cls,
        features: Tensor,
        boxes: Tensor,
        real: Tensor,
        *,
        segments: Tensor | None = None,
        hidden: Tensor | None = None,
        classes: Tensor | None = None,
    ) -> Regions:
        """Ragged regions from padded tensors: features [B, M, F], boxes [B, M, 4], classes [B, M, C], others [B, M]."""
        real = real.bool()
        return cls(
            features=features[real],
            boxes=boxes[real],
            layout=layout_of(real),
            segments=None if segments is None else segments[real],
            hidden=None if hidden is None else hidden[real],
            classes=None if classes is None else classes[real],
        )


@dataclass(frozen=True, eq=False)
class Images(Movable):
    """Pixels of whole images, for encoders that make their own features."""

    pixels: Tensor  #: [images, 3, height, width]


@dataclass(frozen=True, eq=False)
class Entities(Movable):
    """Entities on the token grid: the entity of a mention stands at the mention's first token."""

    vectors: Tensor  #: one row per token, zero where nothing is linked, [T, E]
    linked: Tensor  #: true where a token carries an entity, [T]
    ids: Tensor | None = None  #: the number of the entity in its table, -1 where none, [T]; objectives read it


@dataclass(frozen=True, eq=False)
class Candidates(Movable):
    """Spans of the texts that may be mentions, and the entities of one knowledge base that each of them may mean.

    A text without mentions has one blank span, so that there is always something to read; it covers no token.
    """

    spans: Tensor  #: first and last token row of each, counted over the batch; -1 for a blank one, [S, 2]
    layout: Layout  #: the spans of each text
    entities: Tensor  #: 0 where a span has fewer candidates than others, [S, C]
    priors: Tensor  #: how likely each candidate is before the text is read, [S, C]
    gold: Tensor | None = None  #: the entity that is meant, [S]

    @classmethod
    def padded(
        cls, spans: Tensor, entities: Tensor, priors: Tensor, real: Tensor, *, gold: Tensor | None = None
    ) -> Candidates:
        """From padded tensors: spans [B, S, 2] in columns, -1 for padding, entities and priors [B, S, C], gold [B, S].

        ``real`` [B, N] marks the columns that hold tokens.

        Raises:
            UserError: a span lies outside the tokens of its text, or ends before it begins.
        """
        kept = spans[:, :, 0] >= 0
        kept[:, 0] |= ~kept.any(1)
        real = real.bool()
        rows = (real.flatten().cumsum(0) - 1).view(real.shape)
        first, last = spans[..., 0], spans[..., 1]
        inside = (first <= last) & (last < real.shape[1])
        within = spans.clamp(0, real.shape[1] - 1).flatten(1)
        inside &= real.gather(1, within).view(spans.shape).all(-1)
        if not (inside | (first < 0)).all():
            text, place = ((first >= 0) & ~inside).nonzero()[0].tolist()
            raise UserError(
                f"span {place} of text {text} is columns {first[text, place]} to {last[text, place]}, which are no "
                "tokens of it; a span has its first and last column, both of them tokens"
            )
        numbers = torch.where(first[..., None] < 0, -1, rows.gather(1, within).view(spans.shape))
        return cls(numbers[kept], layout_of(kept), entities[kept], priors[kept], None if gold is None else gold[kept])

    @classmethod
    def none(cls, texts: int, device: torch.device) -> Candidates:
        """What texts without any mention have."""
        layout = Layout((1,) * texts)
        blank = torch.full((texts, 2), -1, device=device)
        return cls(blank, layout, torch.zeros_like(blank[:, :1]), torch.ones(texts, 1, device=device))


@dataclass(frozen=True, eq=False)
class Inputs(Movable):
    """The streams of a batch; a model takes those it reads and refuses to run without them."""

    text: Tokens | None = None
    regions: Regions | None = None
    entities: Entities | None = None
    candidates: Mapping[str, Candidates] | None = None  #: by knowledge base
    images: Images | None = None
    target: Tokens | None = None  #: what is written while the other streams are read
    image_of: Tensor | None = None  #: which image each text is about, [B]; None: text b is about image b

    def __len__(self) -> int:
        """Number of examples."""
        for stream in (self.text, self.regions):
            if stream is not None:
                return len(stream.layout)
        return 0 if self.images is None else len(self.images.pixels)

    def shown(self) -> tuple[Layout, Rows]:
        """With every example the regions of its image: their layout, and the region rows in that order.

        Raises:
            UserError: there are no regions, an image that does not exist is asked about, or texts and images differ
                in number and nothing says which belong together.
        """
        if self.regions is None:
            raise UserError("regions are read here, but the inputs have none")
        images = self.regions.layout
        if self.text is None:
            return images, ALL
        if self.image_of is None:
            if len(self.text.layout) != len(images):
                raise UserError(
                    f"{len(self.text.layout)} texts cannot be joined with the regions of {len(images)} images; "
                    "give image_of, the number of the image that each text is about"
                )
            return images, ALL
        asked: list[int] = self.image_of.tolist()
        if len(asked) != len(self.text.layout):
            raise UserError(f"image_of names an image for {len(asked)} texts, but there are {len(self.text.layout)}")
        for text, image in enumerate(asked):
            if not 0 <= image < len(images):
                raise UserError(f"text {text} is about image {image}, but the images are 0 to {len(images) - 1}")
        return images.take(self.image_of)


def _flat(name: str, sequences: Sequence[Sequence[int]], layout: Layout) -> Tensor:
    for number, (sequence, length) in enumerate(zip(sequences, layout.lengths, strict=True)):
        if len(sequence) != length:
            raise UserError(f"sequence {number} has {length} ids but {len(sequence)} {name}")
    return torch.tensor([number for sequence in sequences for number in sequence], dtype=torch.long)


def _apart(units: Tensor, layout: Layout) -> Tensor:
    """Numbers that count in each sequence as numbers that no two sequences share."""
    firsts = layout.firsts(units.device)[layout.owners(units.device)]
    return torch.where(units < 0, -1, firsts + units)


@dataclass(frozen=True, eq=False)
class Wanted(Movable):
    """What will be read off the last layer, which then finishes only those rows.

    Rows are numbers into the token rows [T] or region rows of the batch, :data:`ALL` or :data:`NONE`.
    """

    tokens: Rows = field(default_factory=lambda: ALL)
    regions: Rows = field(default_factory=lambda: ALL)
    pooled: bool = True


EVERYTHING = Wanted()
POOLED = Wanted(tokens=NONE, regions=NONE)


@dataclass(frozen=True, eq=False)
class Encoded(Movable):
    """The final states that were wanted; what was not wanted has no rows."""

    tokens: Tensor  #: [T or as many as wanted, D]
    regions: Tensor  #: with every text its own image: [sum over texts of the regions of its image, D]
    pooled: Tensor  #: one vector per sequence, [B, D]
