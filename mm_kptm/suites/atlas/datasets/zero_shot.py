"""Zero-shot classification of drawings by the English names of Unicode's subgroups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from PIL import Image

from mm_kptm.datasets.protocol import DataRequest, PreparedData, TaskDataset
from mm_kptm.suites.atlas.data.atlas import TOKENIZER
from mm_kptm.suites.atlas.data.drawings import Pixels
from mm_kptm.suites.atlas.datasets.controls import drawn_small
from mm_kptm.suites.atlas.datasets.settings import AtlasData
from mm_kptm.suites.atlas.datasets.splits import SPLITS, Side, split_side, train_concepts
from mm_kptm.systems.saved import tokenizer_of
from mm_kptm.systems.system import System
from mm_kptm.tasks.example import Example
from mm_kptm.tasks.vision.two_towers.frozen_towers import PictureBatch
from mm_kptm.tasks.vision.two_towers.zero_shot import ClassNames, ZeroShotClassification


@dataclass(frozen=True, eq=False)
class DrawnClasses:
    """Drawings in memory with their subgroups.

    Args:
        pixels: [N, 48, 48, 3].
        about: metadata, whose target is the subgroup, [N].
    """

    pixels: Pixels
    about: tuple[Example, ...]

    def __len__(self) -> int:
        return len(self.about)

    def length(self, index: int) -> int:
        """The same for all."""
        return 1

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> PictureBatch:
        """The given drawings."""
        pictures = tuple(Image.fromarray(self.pixels[index]) for index in indices)
        return PictureBatch(pictures, tuple(self.about[index] for index in indices))


def zero_shot(data: AtlasData, request: DataRequest) -> PreparedData:
    """Every drawing of a split among all subgroups."""
    subgroups = sorted({one.subgroup for one in data.atlas.concepts})
    classes = (ClassNames("en", {one: (one.replace("-", " "),) for one in subgroups}),)

    def source(split: str) -> DrawnClasses:
        side = split_side(data, data.split if split == "test" else split.removeprefix("test-"))
        place = data.atlas.place(side.style)
        shown = [data.atlas.concepts[number] for number in side.concepts]
        about = [Example(one.code, "drawing", "en", one.family, one.subgroup) for one in shown]
        return DrawnClasses(data.atlas.pixels(side.style)[[place[one.code] for one in shown]], tuple(about))

    def baselines(split: str) -> dict[str, float]:
        targets = Counter(one.target for one in source(split).about)
        side = split_side(data, data.split if split == "test" else split.removeprefix("test-"))
        return {
            "chance": 1 / len(subgroups),
            "majority": max(targets.values()) / targets.total(),
            "pixel-nearest": _nearest(data, side),
        }

    def model(system: System) -> ZeroShotClassification:
        if not system.has_tokenizer:
            system.tokenizer = tokenizer_of(system, data.atlas.folder / TOKENIZER)
        return ZeroShotClassification(system, classes)

    asked = [split for split in SPLITS if not split.startswith("lang")]
    return PreparedData(
        sources={"test": partial(source, "test"), **{f"test-{one}": partial(source, f"test-{one}") for one in asked}},
        model=model,
        sizes={"vocab_size": len(data.tokenizer()), "image_size": data.image_size},
        fingerprints=data.fingerprints,
        baselines=baselines,
    )


def _nearest(data: AtlasData, side: Side) -> float:
    """Accuracy of the subgroup of the training drawing that differs least, pixel by pixel; of others than itself."""
    of = data.atlas.concepts
    asked = drawn_small(data.atlas, side.style, [of[one].code for one in side.concepts])
    place = {style: data.atlas.place(style) for style in data.styles}
    known = [(one, style) for style in data.styles for one in train_concepts(data) if of[one].code in place[style]]
    codes = {style: [of[one].code for one, hand in known if hand == style] for style in data.styles}
    rows = np.concatenate([drawn_small(data.atlas, style, codes[style]) for style in data.styles])
    squares = (rows**2).sum(1)[None] - 2 * asked @ rows.T
    for row, concept in enumerate(side.concepts):
        squares[row, [at for at, key in enumerate(known) if key == (concept, side.style)]] = np.inf
    nearest = squares.argmin(axis=1).tolist()
    return float(
        np.mean([of[known[at][0]].subgroup == of[one].subgroup for at, one in zip(nearest, side.concepts, strict=True)])
    )


ZERO_SHOT = TaskDataset(ZeroShotClassification, AtlasData, zero_shot)
