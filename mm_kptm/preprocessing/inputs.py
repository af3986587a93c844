"""Input collation: packed texts and images to model inputs, with a few gathers and no loop over examples.

Shapes: T token rows, R region rows, S texts, P images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mm_kptm.batch import Candidates, Entities, Images, Inputs, Regions, SequenceLayout, Tokens, apart
from mm_kptm.batch.special_entities import NULL, PADDING
from mm_kptm.data.packing import Packed, gather
from mm_kptm.errors import UserError
from mm_kptm.knowledge.injection.fact_injector import OPEN
from mm_kptm.nn.assembly import join
from mm_kptm.nn.visibility import Branches, OpenBranches

IntArray = NDArray[np.int64]


class RegionProvider(Protocol):
    """Protocol of a source of region features."""

    @property
    def lengths(self) -> IntArray:
        """Number of regions of every image, [P]."""

    def regions(self, images: IntArray) -> Regions:
        """Regions of the given images, in that order."""


@runtime_checkable
class PixelProvider(RegionProvider, Protocol):
    """Protocol of a source of pictures; its regions have boxes, and the model makes their features of the pixels."""

    def images(self, images: IntArray) -> Images:
        """Pixels of the given images, in that order."""

    def files(self, images: IntArray) -> Sequence[Path]:
        """The files of the given images."""


@dataclass(frozen=True, eq=False)
class RegionCrops:
    """Images whose regions are uint8 pixels in memory, scaled to [0, 1] for the model."""

    pixels: NDArray[np.uint8]  #: [R, F]
    boxes: NDArray[np.float32]  #: x1 y1 x2 y2 as fractions of the image, [R, 4]
    offsets: IntArray  #: [P + 1]

    @classmethod
    def blank(cls, features: int) -> RegionCrops:
        """One image with one black region of the whole image, for ablations without visual information."""
        return cls(np.zeros((1, features), np.uint8), np.array([[0, 0, 1, 1]], np.float32), np.array([0, 1]))

    @classmethod
    def joined(cls, *parts: RegionCrops) -> RegionCrops:
        """Concatenate the images of all parts."""
        ends = np.cumsum([0, *(part.offsets[-1] for part in parts)])
        return cls(
            np.concatenate([part.pixels for part in parts]),
            np.concatenate([part.boxes for part in parts]),
            np.concatenate([*(part.offsets[:-1] + end for part, end in zip(parts, ends[:-1], strict=True)), ends[-1:]]),
        )

    @cached_property
    def lengths(self) -> IntArray:
        return np.diff(self.offsets)

    def regions(self, images: IntArray) -> Regions:
        rows, lengths = gather(self.offsets, images)
        return Regions(
            features=torch.from_numpy(self.pixels[rows]).float().div_(255),
            boxes=torch.from_numpy(self.boxes[rows]),
            layout=SequenceLayout(tuple(lengths.tolist())),
        )


@dataclass(frozen=True, eq=False)
class InputSource:
    """Source of :class:`~mm_kptm.batch.Inputs`: texts, optionally with an image each.

    An image that several texts of a batch share is included once.

    Args:
        texts: columns ``ids`` and ``positions``; optionally ``segments``, ``languages``, ``words`` and ``branches``
            of sentence trees, ``open`` where these have no visible matrix, and ``entities`` of linked tokens.
        pictures: image source; None for texts alone.
        about: image of every text, in integers of any size, [S].
        entities: vectors by the ids of the ``entities`` column; id 0 is no entity, [N, E].
        base: knowledge base of those entities; linked tokens are then mentions with one candidate, instead of
            entities on the token grid.
        labels: labels of the texts that objectives predict, by objective; -1 where there is none, each [S].
        region_entities: entity of every region as each text sees it, column ``entities``, [S].
        tags: what stands behind every text about an image, such as the names of its objects: column ``ids``, [P].
    """

    texts: Packed
    pictures: RegionProvider | None = None
    about: NDArray[np.integer] | None = None
    entities: Tensor | None = None
    base: str | None = None
    labels: Mapping[str, IntArray] = field(default_factory=dict)
    tags: Packed | None = None
    region_entities: Packed | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def length(self, index: int) -> int:
        """Number of tokens and regions of a text."""
        rows = int(self.texts.lengths[index])
        if self.pictures is None:
            return rows
        image = self._picture_of[index]
        return rows + int(self.pictures.lengths[image]) + (0 if self.tags is None else int(self.tags.lengths[image]))

    @property
    def lengths(self) -> NDArray[np.integer]:
        """Number of tokens and regions of every text, [S]."""
        if self.pictures is None:
            return self.texts.lengths
        shown = self.pictures.lengths + (0 if self.tags is None else self.tags.lengths)
        return self.texts.lengths + shown[self._picture_of]

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Inputs:
        """Collate texts with their images; nothing is sampled."""
        chosen = np.asarray(indices, dtype=np.int64)
        if self.pictures is None:
            return self._with_facts(Inputs(text=tokens(self.texts, chosen)), chosen)
        return self.with_images(chosen, self._picture_of[chosen].astype(np.int64, copy=False))

    def with_images(self, texts: IntArray, images: IntArray) -> Inputs:
        """Collate texts with other images than their own."""
        if self.pictures is None:
            raise UserError("texts were to be paired with images, but this source has none")
        distinct, places = np.unique(images, return_inverse=True)
        apart = len(distinct) == len(images)
        shown = images if apart else distinct
        said = tokens(self.texts, texts)
        inputs = Inputs(
            text=said if self.tags is None else with_second_part(said, self.tags, images),
            regions=self.pictures.regions(shown),
            images=self.pictures.images(shown) if isinstance(self.pictures, PixelProvider) else None,
            image_of=None if apart else torch.from_numpy(places),
        )
        return self._with_facts(inputs, texts)

    def images_alone(self, images: IntArray) -> Inputs:
        """Collate images without a text."""
        if self.pictures is None:
            raise UserError("images were to be read, but this source has none")
        pixels = self.pictures.images(images) if isinstance(self.pictures, PixelProvider) else None
        return Inputs(regions=self.pictures.regions(images), images=pixels)

    def _with_facts(self, inputs: Inputs, texts: IntArray) -> Inputs:
        """Inputs with the labels of their texts and the entities linked in them."""
        if self.labels:
            labels = {name: torch.from_numpy(of_texts[texts]) for name, of_texts in self.labels.items()}
            inputs = replace(inputs, labels=labels)
        if self.entities is None:
            return inputs
        if self.region_entities is not None:
            numbers = torch.from_numpy(self.region_entities.take(texts)[0]["entities"].astype(np.int64, copy=False))
            linked = Entities(self.entities[numbers], linked=numbers > 0, ids=numbers - 1)
            return inputs.with_streams(region_entities=linked)
        column = Packed(self.texts.offsets, {"entities": self.texts.columns["entities"]})
        taken, lengths = column.take(texts)
        numbers = torch.from_numpy(taken["entities"].astype(np.int64, copy=False))
        if self.base is not None:
            return replace(inputs, candidates={self.base: mentions(numbers, SequenceLayout(lengths), self.entities)})
        return inputs.with_streams(entities=Entities(self.entities[numbers], linked=numbers > 0, ids=numbers - 1))

    @cached_property
    def _picture_of(self) -> NDArray[np.integer]:
        return np.arange(len(self.texts)) if self.about is None else self.about


def with_second_part(text: Tokens, parts: Packed, chosen: IntArray) -> Tokens:
    """Texts with a second part behind each, as segment 1, at the positions that follow.

    Args:
        text: the first part of each.
        parts: second parts, column ``ids``.
        chosen: the part of each text.

    Raises:
        UserError: the texts have a tree of facts or labels of their own, which are of their rows.
    """
    if text.attention_mask is not None or text.mask_groups is not None or text.token_labels is not None:
        raise UserError("texts with facts or with labels of their tokens take no names of objects behind them")
    taken, lengths = parts.take(chosen)
    ids = torch.from_numpy(taken["ids"].astype(np.int64, copy=False))
    layout = SequenceLayout(lengths)
    device = ids.device
    joint = join(text.layout, layout, device)
    places = text.layout.cu_seqlens(device).long().diff()[layout.sequence_ids(device)]
    languages = None
    if text.languages is not None:
        spoken = text.languages[text.layout.starts(device)]
        languages = joint.rows(text.languages, spoken[layout.sequence_ids(device)])
    return Tokens(
        ids=joint.rows(text.ids, ids),
        layout=joint.layout,
        positions=joint.rows(text.positions, places + layout.offsets_in_sequence(device)),
        segments=joint.rows(text.segments, torch.ones_like(ids)),
        languages=languages,
    )


def mentions(numbers: Tensor, layout: SequenceLayout, vectors: Tensor) -> Candidates:
    """Every linked token as a one-token mention with one candidate.

    Args:
        numbers: entity rows of ``vectors``, 0 where there is none, [T].
        layout: layout of the tokens.
        vectors: [N, E].
    """
    rows = numbers.nonzero().squeeze(1)
    sequence_ids = layout.sequence_ids(numbers.device)[rows]
    unlinked = torch.bincount(sequence_ids, minlength=len(layout)) == 0  # texts with one blank span
    order = torch.cat([sequence_ids, unlinked.nonzero().squeeze(1)]).argsort(stable=True)
    spans = torch.cat([rows, torch.full((int(unlinked.sum()),), -1)])[order]
    linked = torch.where(spans < 0, 0, numbers[spans.clamp(min=0)])
    counts = torch.bincount(sequence_ids, minlength=len(layout)) + unlinked
    return Candidates(
        spans=spans[:, None].expand(-1, 2),
        layout=SequenceLayout(tuple(counts.tolist())),
        entities=torch.where(linked > 0, linked + NULL, PADDING)[:, None],
        priors=torch.ones(len(spans), 1),
        vectors=vectors[linked][:, None],
    )


def select_texts(tokens: Tokens, texts: Tensor) -> Tokens:
    """The tokens of the given texts of a batch, repeats allowed, [texts]; they have no attention mask of their own.

    Raises:
        UserError: the texts have an attention mask, which is of their rows in the batch.
    """
    if tokens.attention_mask is not None or tokens.mask_groups is not None:
        raise UserError("texts with facts or with mask groups cannot be taken out of their batch")
    layout, rows = tokens.layout.select(texts)
    columns = {
        name: column[rows]
        for name in ("ids", "positions", "segments", "languages", "vectors", "tasks")
        if (column := getattr(tokens, name)) is not None
    }
    labels = tokens.token_labels
    selected_labels = None if labels is None else {name: column[rows] for name, column in labels.items()}
    return replace(tokens, layout=layout, token_labels=selected_labels, **columns)


MARK = "mark_"  #: prefix of columns with token labels


def tokens(texts: Packed, indices: IntArray) -> Tokens:
    """Collate the tokens of texts; facts attend only to themselves and their word, unless there is a column ``open``.

    Columns beside those of :class:`InputSource`: ``units``, numbered within each text, and ``mark_`` with the name of a
    token label.
    """
    columns, lengths = texts.take(indices)
    rows = {name: torch.from_numpy(column.astype(np.int64, copy=False)) for name, column in columns.items()}
    branches = rows.get("branches")
    tree = OpenBranches if OPEN in rows else Branches
    layout = SequenceLayout(lengths)
    labels = {name.removeprefix(MARK): column for name, column in rows.items() if name.startswith(MARK)}
    return Tokens(
        ids=rows["ids"],
        layout=layout,
        positions=rows["positions"],
        segments=rows["segments"] if "segments" in rows else torch.zeros_like(rows["ids"]),
        languages=rows.get("languages"),
        attention_mask=tree(rows["words"], branches) if branches is not None and bool(branches.any()) else None,
        mask_groups=apart(rows["units"], layout) if "units" in rows else None,
        token_labels=labels or None,
    )
