"""Scenes of two to five drawings with boxes: a name in any language refers to one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mm_kptm.batch import Regions
from mm_kptm.data.packing import Packed
from mm_kptm.data.tokenizers.protocol import framed
from mm_kptm.datasets.illustration import Illustration
from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.errors import UserError
from mm_kptm.preprocessing.inputs import InputSource, IntArray, RegionCrops, RegionProvider
from mm_kptm.preprocessing.text import TextEncoding
from mm_kptm.random_streams import RandomStream, pick
from mm_kptm.suites.atlas.data.drawings import SIZE, Pixels
from mm_kptm.suites.atlas.data.held_out import fraction
from mm_kptm.suites.atlas.datasets.controls import pixel_distances
from mm_kptm.suites.atlas.datasets.settings import AtlasData
from mm_kptm.suites.atlas.datasets.splits import SPLITS, split_side, train_concepts
from mm_kptm.tasks.example import Example
from mm_kptm.tasks.heads import requested_heads
from mm_kptm.tasks.vision.grounding import ExpressionSource, Grounding

CANVAS = 192  #: side of a scene in pixels
LEAST, MOST = 2, 5  #: drawings of a scene
DEV_SCENES, TEST_SCENES = 500, 1000
CELLS = CANVAS // SIZE  #: drawings that fit along a side
REDUCED = 12  #: side of the pixels of a region
FEATURES = REDUCED * REDUCED * 3


@dataclass(frozen=True)
class Scene:
    """Concepts at cells of the canvas, and the one that is referred to.

    Args:
        concepts: by number.
        cells: of the canvas, from the upper left, row by row.
        target: index of the concept that is named.
        language: of the name.
    """

    concepts: tuple[int, ...]
    cells: tuple[int, ...]
    target: int
    language: str

    @property
    def boxes(self) -> list[tuple[float, float, float, float]]:
        """Corners of every drawing as fractions of the canvas."""
        corners = [(cell % CELLS / CELLS, cell // CELLS / CELLS) for cell in self.cells]
        return [(x, y, x + 1 / CELLS, y + 1 / CELLS) for x, y in corners]

    def pixels(self, drawings: Mapping[int, Pixels]) -> Pixels:
        """The canvas with the drawings, [CANVAS, CANVAS, 3]."""
        canvas = np.full((CANVAS, CANVAS, 3), 255, np.uint8)
        for concept, cell in zip(self.concepts, self.cells, strict=True):
            top, left = cell // CELLS * SIZE, cell % CELLS * SIZE
            canvas[top : top + SIZE, left : left + SIZE] = drawings[concept]
        return canvas


def num_scenes(data: AtlasData, split: str) -> int:
    """How many scenes a split shows.

    Raises:
        UserError: training would show the scenes of the test, which are drawn by their number.
    """
    if data.scenes == TEST_SCENES:
        raise UserError(
            f"data.scenes is {data.scenes}, with which training would show the scenes of the test; take another number"
        )
    return {"train": data.scenes, "dev": DEV_SCENES}.get(split, TEST_SCENES)


def in_order_of_frequency(data: AtlasData, concepts: Sequence[int], skew: int) -> Sequence[int]:
    """Concepts as :func:`drawn_by` takes them: with a long tail in an order that says nothing of what they are."""
    codes = {number: data.atlas.concepts[number].code for number in concepts}
    return concepts if skew == 1 else sorted(concepts, key=lambda number: fraction("frequency", codes[number]))


def drawn_by(word: int, concepts: Sequence[int], skew: int) -> int:
    """The concept that a 32-bit word stands for; see :attr:`AtlasData.concept_skew`.

    >>> drawn_by(2**31, range(80), 1), drawn_by(2**31, range(80), 3)
    (40, 10)
    """
    return concepts[pick(word**skew >> 32 * (skew - 1), len(concepts))]


def of_different_families(
    words: Sequence[int], concepts: Sequence[int], family: Mapping[int, str], skew: int, count: int
) -> tuple[int, ...]:
    """The first ``count`` concepts of different families that words stand for; where they run out, the most frequent.

    >>> of_different_families([0, 1, 2**31], range(80), {number: str(number // 2) for number in range(80)}, 3, 3)
    (0, 10, 2)
    """
    chosen: dict[str, int] = {}
    for concept in chain((drawn_by(word, concepts, skew) for word in words), concepts):
        if len(chosen) == count:
            break
        chosen.setdefault(family[concept], concept)
    return tuple(chosen.values())


def compose(data: AtlasData, split: str, count: int, skew: int = 1) -> list[Scene]:
    """Draw scenes of different families; each refers to one of its drawings, in the languages of the split."""
    side = split_side(data, split)
    family = {number: data.atlas.concepts[number].family for number in side.concepts}
    by_frequency = in_order_of_frequency(data, side.concepts, skew)
    rolls = RandomStream(data.seed, "scenes", split, count).words(count, 3 + 2 * MOST).tolist()
    orders = RandomStream(data.seed, "cells", split, count).orders(count, CELLS * CELLS)
    found = []
    for roll, order in zip(rolls, orders, strict=True):
        size = LEAST + pick(roll[0], MOST - LEAST + 1)
        concepts = of_different_families(roll[3:], by_frequency, family, skew, size)
        target = pick(roll[1], len(concepts))
        language = side.languages[pick(roll[2], len(side.languages))]
        if not data.atlas.names[language][concepts[target]]:
            language = data.languages[0]
        found.append(Scene(concepts, tuple(order[: len(concepts)].tolist()), target, language))
    return found


def reduced(drawings: Pixels) -> NDArray[np.uint8]:
    """Drawings as the features of regions, [N, FEATURES]."""
    step = SIZE // REDUCED
    means = drawings.reshape(len(drawings), REDUCED, step, REDUCED, step, 3).mean(axis=(2, 4))
    return np.asarray(means.round().astype(np.uint8).reshape(len(drawings), -1))


def scene_crops(data: AtlasData, style: str, scenes: Sequence[Scene]) -> RegionCrops:
    """The drawings of scenes as regions."""
    place, sheet = data.atlas.place(style), data.atlas.pixels(style)
    rows = [place[data.atlas.concepts[concept].code] for scene in scenes for concept in scene.concepts]
    boxes = [box for scene in scenes for box in scene.boxes]
    offsets = np.cumsum([0, *(len(scene.concepts) for scene in scenes)])
    return RegionCrops(reduced(sheet[rows]), np.array(boxes, np.float32), offsets)


@dataclass(frozen=True, eq=False)
class StandardizedRegions:
    """Regions whose features have the mean 0 and the standard deviation 1 over the drawings of training.

    Drawings stand on white, so that nine tenths of what raw pixels are is the same in all of them.
    """

    regions_of: RegionProvider
    mean: Tensor  #: [F]
    deviation: Tensor  #: of all features together

    @property
    def lengths(self) -> IntArray:
        """Number of regions of every scene, [P]."""
        return self.regions_of.lengths

    def regions(self, images: IntArray) -> Regions:
        """Regions of the given scenes, in that order."""
        found = self.regions_of.regions(images)
        return replace(found, features=(found.features - self.mean) / self.deviation)


def standardized(data: AtlasData, crops: RegionProvider) -> StandardizedRegions:
    """Regions, standardized by the drawings of the concepts that are trained."""
    place, sheet = data.atlas.place(data.styles[0]), data.atlas.pixels(data.styles[0])
    rows = [place[data.atlas.concepts[concept].code] for concept in train_concepts(data)]
    values = torch.from_numpy(reduced(sheet[rows])).float() / 255
    mean = values.mean(dim=0)
    return StandardizedRegions(crops, mean, (values - mean).std())


def scene_pixels(data: AtlasData, style: str, scene: Scene) -> Pixels:
    """The canvas of a scene in a style, [CANVAS, CANVAS, 3]."""
    place, sheet = data.atlas.place(style), data.atlas.pixels(style)
    return scene.pixels({one: sheet[place[data.atlas.concepts[one].code]] for one in scene.concepts})


def grounding_controls(data: AtlasData, split: str, scenes: Sequence[Scene]) -> dict[str, float]:
    """Accuracy without a model: ``chance``, and ``pixel-nearest``, the drawing that differs least from one of training.

    The second knows what training shows of the named concept, and is there where training shows it.
    """
    found = {"chance": float(np.mean([1 / len(one.concepts) for one in scenes]))}
    side = split_side(data, split)
    if set(side.concepts) <= set(train_concepts(data)):
        places = {concept: place for place, concept in enumerate(side.concepts)}
        apart = pixel_distances(data.atlas, side.style, side.concepts, data.styles)
        right = [
            int(apart[[places[shown] for shown in one.concepts], places[one.concepts[one.target]]].argmin())
            == one.target
            for one in scenes
        ]
        found["pixel-nearest"] = float(np.mean(right))
    return found


def grounding(data: AtlasData, request: DataRequest) -> PreparedData:
    """Names that refer to one drawing of a scene."""
    tokenizer = data.tokenizer()
    encoding = TextEncoding(tokenizer, data.max_length)

    def named(split: str) -> str:
        return {"train": "iid", "test": data.split}.get(split, split.removeprefix("test-"))

    @cache
    def scenes(split: str) -> tuple[Scene, ...]:
        return tuple(compose(data, named(split), num_scenes(data, split), data.concept_skew if split == "train" else 1))

    def source(split: str) -> ExpressionSource:
        shown = scenes(split)
        crops = scene_crops(data, split_side(data, named(split)).style, shown)
        room = data.max_length - tokenizer.specials.around(1)
        names = [data.atlas.names[one.language][one.concepts[one.target]] for one in shown]
        spelt = [tokenizer.encode(name, one.language).ids[:room] for name, one in zip(names, shown, strict=True)]
        texts = encoding.pack([framed(tokenizer.specials, ids) for ids in spelt], [one.language for one in shown])
        return ExpressionSource(
            InputSource(texts, crops, np.arange(len(shown), dtype=np.int64)),
            Packed.of(right=[[int(at == one.target) for at in range(len(one.concepts))] for one in shown]),
            tuple(one.target for one in shown),
            tuple(_about(data, number, one) for number, one in enumerate(shown)),
        )

    def illustrate(split: str, index: int) -> Illustration:
        scene = scenes(split)[index]
        names = data.atlas.names[scene.language]
        return Illustration(
            question=names[scene.concepts[scene.target]],
            pixels=scene_pixels(data, split_side(data, named(split)).style, scene),
            regions=tuple(names[one] for one in scene.concepts),
            region=scene.target,
        )

    asked = [f"test-{split}" for split in SPLITS if split_side(data, split).languages]
    return PreparedData(
        sources={split: partial(source, split) for split in ("train", "dev", "test", *asked)},
        model=Grounding,
        sizes={"vocab_size": len(tokenizer), "region_dim": FEATURES},
        heads=requested_heads(request.recipe, Grounding.HEADS),
        fingerprints=data.fingerprints,
        baselines=lambda split: {} if split == "train" else grounding_controls(data, named(split), scenes(split)),
        illustrate=illustrate,
    )


def _about(data: AtlasData, number: int, scene: Scene) -> Example:
    family = data.atlas.concepts[scene.concepts[scene.target]].family
    return Example(f"scene-{number}", f"of-{len(scene.concepts)}", scene.language, family, str(scene.target))


GROUNDING = TaskDataset(Grounding, AtlasData, grounding)
