"""Flickr30k Entities with its published files: phrases of captions and the regions that they mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from mm_kptm.data.formats.captions import Box, Pointed, overlap
from mm_kptm.data.formats.vision.flickr30k_entities import (
    Phrase,
    PhrasedCaption,
    read_flickr30k_entities,
    read_image_list,
)
from mm_kptm.data.packing import Packed
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.datasets.settings import RegionFiles, by_split
from mm_kptm.datasets.stored_regions import ImageStore, provider_of
from mm_kptm.datasets.vision.sources import FOUND, encoding_of, expressions, sizes_of, stored
from mm_kptm.errors import UserError
from mm_kptm.preprocessing.image_text import ImageTextLayout
from mm_kptm.preprocessing.inputs import InputSource
from mm_kptm.preprocessing.text import TextEncoding
from mm_kptm.tasks.example import Example
from mm_kptm.tasks.heads import requested_heads
from mm_kptm.tasks.vision.grounding import ExpressionSource, Grounding
from mm_kptm.tasks.vision.phrase_grounding import PhraseGrounding, PhraseSource


@dataclass(frozen=True, kw_only=True)
class Flickr30kEntitiesData(RegionFiles):
    """Flickr30k Entities: lists of images, one a split, and the folder of their sentences and boxes."""

    name: Literal["flickr30k-entities"]
    entities: Path  #: the folder with Sentences and Annotations
    several_boxes: Literal["any", "union"] = "any"  #: whether a phrase with several boxes means any of them or all
    max_length: int = 80  #: pieces of a caption that are read, special ones included

    def captions(self, path: Path) -> tuple[PhrasedCaption, ...]:
        """The captions of a list of images."""
        return read_flickr30k_entities(self.entities, read_image_list(path))

    def boxes_of(self, phrase: Phrase) -> tuple[Box, ...]:
        """The boxes that a region may overlap."""
        if self.several_boxes == "any" or len(phrase.boxes) < 2:
            return phrase.boxes
        left, top, right, bottom = zip(*phrase.boxes, strict=True)
        return ((min(left), min(top), max(right), max(bottom)),)


def phrase_grounding(data: Flickr30kEntitiesData, request: DataRequest) -> PreparedData:
    """The phrases of each caption at once, by an attention (Li et al. 2019)."""
    store, encoding = data.store(request), encoding_of(data, request.recipe)
    captions = by_split(data.files, data.captions)

    def source(split: str) -> PhraseSource:
        return _phrases(data, captions(split), encoding, store)

    return PreparedData(
        sources={split: partial(source, split) for split in data.files},
        model=PhraseGrounding,
        sizes=sizes_of(encoding, store),
        heads=requested_heads(request.recipe, PhraseGrounding.HEADS),
        fingerprints=data.fingerprints,
        baselines=lambda split: _largest(data, captions(split), store),
        read_file=lambda path: _phrases(data, data.captions(path), encoding, store),
    )


def grounding(data: Flickr30kEntitiesData, request: DataRequest) -> PreparedData:
    """Every phrase by itself, as a referring expression (12-in-1: Lu et al. 2020)."""
    store, encoding = data.store(request), encoding_of(data, request.recipe)
    captions = by_split(data.files, data.captions)

    def made(said: Sequence[PhrasedCaption]) -> ExpressionSource:
        records = [
            Pointed(
                f"{one.id}/{at}", one.image, one.text[phrase.start : phrase.end], data.boxes_of(phrase)[0], phrase.type
            )
            for one in said
            for at, phrase in enumerate(one.phrases)
            if phrase.boxes
        ]
        return expressions(records, encoding, store)

    def source(split: str) -> ExpressionSource:
        return made(captions(split))

    return PreparedData(
        sources={split: partial(source, split) for split in data.files},
        model=Grounding,
        sizes=sizes_of(encoding, store),
        heads=requested_heads(request.recipe, Grounding.HEADS),
        fingerprints=data.fingerprints,
        read_file=lambda path: made(data.captions(path)),
    )


def _phrases(
    data: Flickr30kEntitiesData, said: Sequence[PhrasedCaption], encoding: TextEncoding, store: ImageStore
) -> PhraseSource:
    """Captions with the phrases that have a box and are not cut off."""
    layout = ImageTextLayout(encoding.tokenizer.specials, encoding.format)
    before, _ = layout.around()
    places = stored(store, [one.image for one in said])
    framings, ends, right, phrases = [], [], [], []
    for one, place in zip(said, places.tolist(), strict=True):
        regions = store.boxes[store.offsets[place] : store.offsets[place + 1]].tolist()
        if not regions:
            raise UserError(f"{store.folder} has no region of image {one.image[0]!r}, so there is nothing to point at")
        pieces = encoding.tokenizer.encode(one.text, one.language)
        ids, kinds = layout.cut(pieces.ids, max_length=encoding.max_length)
        framings.append((ids, kinds))
        kept = len(ids) - layout.num_special(1)
        own_ends, own_right, own = [], [], []
        for at, phrase in enumerate(one.phrases):
            covered = pieces.covering(phrase.start, phrase.end)
            boxes = data.boxes_of(phrase)
            if not boxes or not covered or covered[-1] >= kept:
                continue
            overlaps = [max(overlap(region, box) for box in boxes) for region in regions]
            best = max(range(len(regions)), key=overlaps.__getitem__)
            own_ends.append(len(before) + covered[-1])
            own_right += [int(share >= FOUND) for share in overlaps]
            target = str(best) if overlaps[best] >= FOUND else "none"
            own.append(Example(f"{one.id}/{at}", phrase.type, one.language, f"image-{one.image[0]}", target))
        ends.append(own_ends)
        right.append(own_right)
        phrases.append(tuple(own))
    if not any(phrases):
        raise UserError(f"none of the {len(said)} captions has a phrase with a box, so there is nothing to point at")
    return PhraseSource(
        InputSource(encoding.pack(framings, [one.language for one in said]), provider_of(store), np.asarray(places)),
        Packed.of(ends=ends),
        Packed.of(right=right),
        tuple(
            Example(one.id, "caption", one.language, f"image-{one.image[0]}", "phrases" if own else "")
            for one, own in zip(said, phrases, strict=True)
        ),
        tuple(phrases),
    )


def _largest(data: Flickr30kEntitiesData, said: Sequence[PhrasedCaption], store: ImageStore) -> Mapping[str, float]:
    """Recall of the largest region of every image, whatever the phrase says."""
    found = []
    for one, place in zip(said, stored(store, [one.image for one in said]).tolist(), strict=True):
        regions = store.boxes[store.offsets[place] : store.offsets[place + 1]].tolist()
        largest = max(regions, key=lambda box: (box[2] - box[0]) * (box[3] - box[1]))
        meant = [data.boxes_of(phrase) for phrase in one.phrases if phrase.boxes]
        found += [max(overlap(largest, box) for box in boxes) >= FOUND for boxes in meant]
    return {"largest-region": sum(found) / len(found)} if found else {}


def read_listed(path: Path) -> tuple[PhrasedCaption, ...]:
    """The captions of a list such as ``val.txt`` that lies beside ``Sentences`` and ``Annotations``, as in the release.

    Raises:
        UserError: as :func:`read_flickr30k_entities`.
    """
    return read_flickr30k_entities(path.parent, read_image_list(path))


PHRASES_SUPPLY = TaskDataset(PhraseGrounding, Flickr30kEntitiesData, phrase_grounding, read_listed)
GROUNDING_SUPPLY = TaskDataset(Grounding, Flickr30kEntitiesData, grounding, read_listed)
