"""The streams of a batch: tokens, regions, images, entities and candidates, each a frozen dataclass of ragged rows.

Shapes: B sequences, T token rows, R region rows, F region features, N and M padded lengths.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from mm_kptm.batch.rows import AttentionMask, Movable, SequenceLayout, copied, layout_of
from mm_kptm.errors import UserError


class InputStream(Movable):
    """One stream of :class:`~mm_kptm.batch.Inputs`: the rows of one modality, of all sequences end to end."""

    @property
    def num_sequences(self) -> int | None:
        """Number of sequences; None where the rows are attached to those of another stream."""
        return None


@dataclass(frozen=True, eq=False)
class Tokens(InputStream):
    """Ragged tokens with the ids that embeddings look up."""

    ids: Tensor  #: [T]
    layout: SequenceLayout
    positions: Tensor  #: [T]; soft positions under K-BERT
    segments: Tensor  #: [T]
    languages: Tensor | None = None  #: [T]
    attention_mask: AttentionMask | None = None  #: None: every row sees its whole sequence
    vectors: Tensor | None = None  #: replace the word embeddings, [T, D]
    mask_groups: Tensor | None = None  #: rows of one group are masked together, -1 never; None: one row a group, [T]
    tasks: Tensor | None = None  #: id of the pretraining task, [T]; None: task 0
    token_labels: Mapping[str, Tensor] | None = None  #: further labels of every row, for objectives, each [T]

    @classmethod
    def of(
        cls,
        sequences: Sequence[Sequence[int]],
        *,
        positions: Sequence[Sequence[int]] | None = None,
        segments: Sequence[Sequence[int]] | None = None,
        languages: Sequence[Sequence[int]] | None = None,
        attention_mask: AttentionMask | None = None,
        mask_groups: Sequence[Sequence[int]] | None = None,
    ) -> Tokens:
        """Ragged tokens from lists; positions count from 0 and segments are 0 unless given.

        Mask groups are numbered within each sequence, below its length.

        Raises:
            UserError: a list of positions, segments, languages or mask groups is not as long as its sequence.
        """
        layout = SequenceLayout(tuple(map(len, sequences)))
        counted = layout.offsets_in_sequence(torch.device("cpu"))
        return cls(
            ids=_flat("ids", sequences, layout),
            layout=layout,
            positions=counted if positions is None else _flat("positions", positions, layout),
            segments=torch.zeros_like(counted) if segments is None else _flat("segments", segments, layout),
            languages=None if languages is None else _flat("languages", languages, layout),
            attention_mask=attention_mask,
            mask_groups=None if mask_groups is None else apart(_flat("mask_groups", mask_groups, layout), layout),
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
        attention_mask: AttentionMask | None = None,
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
            attention_mask=attention_mask,
        )

    @cached_property
    def rows(self) -> int:
        """Number of token rows, T."""
        return self.layout.total

    @property
    def num_sequences(self) -> int:
        """Number of texts, B."""
        return len(self.layout)


@dataclass(frozen=True, eq=False)
class Detected(Movable):
    """Class predicted by a detector for every region, with its confidence."""

    ids: Tensor  #: [R]
    confidence: Tensor  #: between 0 and 1, [R]


@dataclass(frozen=True, eq=False)
class Regions(InputStream):
    """Ragged image regions; the sequences are images, each stored once however many texts share it."""

    features: Tensor  #: [R, F]
    boxes: Tensor  #: x1 y1 x2 y2 as fractions of the image, [R, 4]
    layout: SequenceLayout
    segments: Tensor | None = None  #: region type, for systems that distinguish left and right images, [R]
    masked: Tensor | None = None  #: true where an objective masked the region, [R]
    whole_image: Tensor | None = None  #: features of whole images; None: the mean of their regions, [images, F]
    classes: Tensor | None = None  #: the detector's distribution over classes, class 0 is background, [R, C]
    objects: Detected | None = None  #: the detector's best object of every region, without a background class
    attributes: Detected | None = None  #: the detector's best attribute (colour, material) of every region
    object_masks: Tensor | None = None  #: share of an object in each cell of its box, between 0 and 1, [R, H, W]
    words: Tensor | None = None  #: positions of the words that name each region, -1 for none, [R, K]
    geometry: Tensor | None = None  #: precomputed geometry features of each region, [R, G]

    @classmethod
    def padded(
        cls,
        features: Tensor,
        boxes: Tensor,
        real: Tensor,
        *,
        segments: Tensor | None = None,
        masked: Tensor | None = None,
        classes: Tensor | None = None,
    ) -> Regions:
        """Ragged regions from padded tensors: features [B, M, F], boxes [B, M, 4], classes [B, M, C], others [B, M]."""
        real = real.bool()
        return cls(
            features=features[real],
            boxes=boxes[real],
            layout=layout_of(real),
            segments=None if segments is None else segments[real],
            masked=None if masked is None else masked[real],
            classes=None if classes is None else classes[real],
        )

    @property
    def num_sequences(self) -> int:
        """Number of images."""
        return len(self.layout)

    def widened(self, dtype: torch.dtype) -> Regions:
        """The same regions with columns that are stored as float16 in ``dtype``, in which a model computes."""
        halves = {
            name: column.to(dtype)
            for name in ("features", "classes", "whole_image")
            if (column := getattr(self, name)) is not None and column.dtype == torch.float16 != dtype
        }
        return replace(self, **halves) if halves else self


@dataclass(frozen=True, eq=False)
class Images(InputStream):
    """Pixels of whole images, for encoders that compute their own features."""

    pixels: Tensor  #: [images, 3, height, width]; smaller images stand in the upper left corner
    sizes: tuple[tuple[int, int], ...] | None = None  #: height and width of each; None: all fill the tensor

    @classmethod
    def of(cls, pictures: Sequence[Tensor]) -> Images:
        """Images of any sizes, each [3, height, width]."""
        sizes = tuple((picture.shape[1], picture.shape[2]) for picture in pictures)
        height, width = max((h for h, _ in sizes), default=0), max((w for _, w in sizes), default=0)
        if all(size == (height, width) for size in sizes):
            return cls(torch.stack(list(pictures)) if pictures else torch.zeros(0, 3, 0, 0))
        pixels = pictures[0].new_zeros(len(pictures), 3, height, width)
        for whole, picture, (h, w) in zip(pixels, pictures, sizes, strict=True):
            whole[:, :h, :w] = picture
        return cls(pixels, sizes)

    @property
    def num_sequences(self) -> int:
        """Number of images."""
        return len(self.pixels)

    def size_of(self, number: int) -> tuple[int, int]:
        """Height and width of an image."""
        if self.sizes is not None:
            return self.sizes[number]
        return self.pixels.shape[2], self.pixels.shape[3]

    def by_size(self) -> Iterator[tuple[list[int], Tensor]]:
        """Images of one size at a time, without what pads them: their numbers and pixels [images, 3, height, width]."""
        if self.sizes is None:
            yield list(range(len(self.pixels))), self.pixels
            return
        for height, width in dict.fromkeys(self.sizes):
            numbers = [number for number, size in enumerate(self.sizes) if size == (height, width)]
            yield numbers, self.pixels[numbers, :, :height, :width]


@dataclass(frozen=True, eq=False)
class Entities(InputStream):
    """Entities on the grid of the tokens (that of a mention at its first token), or on that of the regions."""

    vectors: Tensor  #: one row per token or region, zero where nothing is linked, [T, E]
    linked: Tensor  #: true where it carries an entity, [T]
    ids: Tensor | None = None  #: row of the entity in its table, -1 where none, [T]; objectives read it


@dataclass(frozen=True, eq=False)
class Candidates(Movable):
    """Candidate mention spans of the texts, and the candidate entities of each from one knowledge base.

    A text without mentions has one blank span, which covers no token, so that no text is empty.
    """

    spans: Tensor  #: first and last token row of each, counted over the batch; -1 for a blank one, [S, 2]
    layout: SequenceLayout  #: spans per text
    entities: Tensor  #: 0 where a span has fewer candidates than others, [S, C]
    priors: Tensor  #: prior probability of each candidate, [S, C]
    gold: Tensor | None = None  #: gold entity, [S]
    vectors: Tensor | None = (
        None  #: candidate embeddings, where they come with the text and not from a table, [S, C, E]
    )

    @classmethod
    def padded(
        cls, spans: Tensor, entities: Tensor, priors: Tensor, real: Tensor, *, gold: Tensor | None = None
    ) -> Candidates:
        """From padded tensors: spans [B, S, 2] in columns, -1 for padding, entities and priors [B, S, C], gold [B, S].

        ``real`` [B, N] is true at columns that hold tokens.

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
        """One blank span per text, for texts without mentions."""
        layout = SequenceLayout((1,) * texts)
        blank, entities = torch.full((texts, 2), -1), torch.zeros(texts, 1, dtype=torch.long)
        return cls(copied(blank, device), layout, copied(entities, device), torch.ones(texts, 1, device=device))


def _flat(name: str, sequences: Sequence[Sequence[int]], layout: SequenceLayout) -> Tensor:
    for number, (sequence, length) in enumerate(zip(sequences, layout.lengths, strict=True)):
        if len(sequence) != length:
            raise UserError(f"sequence {number} has {length} ids but {len(sequence)} {name}")
    flat = [number for sequence in sequences for number in sequence]
    try:
        found = torch.tensor(flat) if flat else torch.zeros(0, dtype=torch.long)
    except (TypeError, ValueError):
        raise UserError(f"{name} are lists of whole numbers, one list for each sequence, not {flat[0]!r}") from None
    if found.is_floating_point() or found.is_complex():
        raise UserError(f"{name} are whole numbers, but there are others among them, such as {flat[0]!r}")
    return found.long()


def apart(groups: Tensor, layout: SequenceLayout) -> Tensor:
    """Group numbers made unique over the batch, from numbers that count within each sequence; -1 stays."""
    starts = layout.starts(groups.device)[layout.sequence_ids(groups.device)]
    return torch.where(groups < 0, -1, starts + groups)
